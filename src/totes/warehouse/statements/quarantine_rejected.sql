-- Quarantine the rows that the contract rejected.
INSERT INTO totes.quarantine (
    batch, star_table, key, column_name, value, reason, row, valid_from, superseded_at
)
SELECT
    {batch}, r.star_table, r.key, r.column_name, r.value, r.reason, r.row::jsonb, r.valid_from,
    (
        SELECT min(q.superseded_at) FROM totes.quarantine AS q
        WHERE q.star_table = r.star_table AND q.key = r.key AND q.valid_from = r.valid_from
    )
FROM (
    SELECT
        star_table, column_name, value, reason, row, valid_from,
        CASE WHEN star_table = ANY({composite}) THEN key::jsonb::text ELSE key END AS key
    FROM {staged}
) AS r
