-- The latest version of each dimension row, written only where it differs.
INSERT INTO {star} AS d ({columns})
SELECT {columns}
FROM {staged}
WHERE valid_from = {moment} AND _op = 'upsert' AND valid_to IS NULL
ORDER BY {key}
ON CONFLICT ({key}) DO UPDATE SET ({columns}) = ROW({excluded})
WHERE ({current}) IS DISTINCT FROM ({excluded})
