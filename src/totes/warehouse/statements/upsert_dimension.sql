-- Insert the latest version of each dimension row, or update the row if it differs.
INSERT INTO {star} AS d ({columns})
SELECT {columns}
FROM (
    SELECT *, rank() OVER (PARTITION BY {key} ORDER BY valid_from DESC) AS _rank
    FROM {staged}
    WHERE _op = 'upsert' AND valid_to IS NULL
) AS s
WHERE _rank = 1
ORDER BY {key}
ON CONFLICT ({key}) DO UPDATE SET ({columns}) = ROW({excluded})
WHERE ({columns_of_dimension}) IS DISTINCT FROM ({excluded})
