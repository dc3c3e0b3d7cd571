-- The new versions, each in its place in history.
INSERT INTO {star} ({columns}, valid_from, valid_to)
SELECT {columns}, valid_from, valid_to
FROM {staged}
WHERE valid_from = {moment} AND _op = 'upsert'
ORDER BY {key}
