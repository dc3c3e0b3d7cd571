-- Insert the new versions, in order of time.
INSERT INTO {star} ({columns}, valid_from, valid_to)
SELECT {columns_of_staged}, a.valid_from, a.valid_to
FROM {actions} AS a
JOIN {staged} AS s ON {action_and_staged} AND a.valid_from = s.valid_from AND s._op = 'upsert'
WHERE a._action = 'insert'
ORDER BY a.valid_from, {keys_of_staged}
