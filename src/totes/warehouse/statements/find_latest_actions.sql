-- Find the actions if all staged rows are later than all versions in the table, as in most batches:
-- the same as find_actions.sql, in less time. A version that equals the current one is left out,
-- unless a rejected version lies between.
INSERT INTO {actions}
SELECT action._action, action.{surrogate}, {keys_of_staged}, s.valid_from, action.valid_to
FROM {staged} AS s
LEFT JOIN {star} AS f ON {fact_and_staged} AND f.valid_to IS NULL
CROSS JOIN
    LATERAL (
        VALUES ('update', f.{surrogate}, s.valid_from), ('insert', NULL, NULL)
    ) AS action (_action, {surrogate}, valid_to)
WHERE CASE action._action WHEN 'update' THEN f.{surrogate} IS NOT NULL ELSE s._op = 'upsert' END
    AND (
        f.{surrogate} IS NULL
        OR s._op = 'delete'
        OR ({columns_of_fact}) IS DISTINCT FROM ({columns_of_staged})
        OR EXISTS (
            SELECT FROM totes.quarantine AS q
            WHERE q.star_table = {name} AND q.key = {key_text}
                AND q.released_at IS NULL AND q.valid_from > f.valid_from
        )
    )
