-- Find the actions that place the staged versions in the history, whatever their valid_from is.
-- Each staged key has a sequence of events: beginnings (1) and ends (3) of versions in the table,
-- new versions (2), deletions (3) and rejected versions (4). Of several events at the same moment,
-- the one with the lowest _kind is used. A version that equals the one before it is left out,
-- unless a rejected version lies between. Every other event ends the version before it.
INSERT INTO {actions}
WITH first AS (
    SELECT {key}, min(valid_from) AS valid_from FROM {staged} GROUP BY {key} ORDER BY {key}
),

relevant AS (
    SELECT
        {keys_of_fact}, f.{surrogate}, f.valid_from, f.valid_to, row({columns_of_fact}) AS _version
    FROM first
    JOIN {star} AS f ON {fact_and_first} AND (f.valid_to IS NULL OR f.valid_to > first.valid_from)
),

event AS (
    SELECT {key}, 1 AS _kind, valid_from, valid_to, {surrogate}, _version FROM relevant
    UNION ALL
    SELECT {key}, 3, valid_to, NULL, NULL, NULL FROM relevant WHERE valid_to IS NOT NULL
    UNION ALL
    SELECT {key}, 2, valid_from, NULL, NULL, row({columns}) FROM {staged} WHERE _op = 'upsert'
    UNION ALL
    SELECT {key}, 3, valid_from, NULL, NULL, NULL FROM {staged} WHERE _op = 'delete'
    UNION ALL
    SELECT {key}, 3, valid_to, NULL, NULL, NULL FROM {staged} WHERE valid_to IS NOT NULL
    UNION ALL
    SELECT {keys_of_staged}, 4, q.valid_from, NULL, NULL, NULL
    FROM first AS s
    JOIN {quarantine} AS q
        ON q.star_table = {name} AND q.key = {key_text} AND q.released_at IS NULL
),

first_of_moment AS (
    SELECT DISTINCT ON ({key}, valid_from) * FROM event ORDER BY {key}, valid_from, _kind
),

compared AS (
    SELECT
        *,
        (
            _version IS NOT DISTINCT FROM lag(_version) OVER line
            AND (_kind = 4) IS NOT DISTINCT FROM (lag(_kind = 4) OVER line)
        ) AS _same
    FROM first_of_moment
    WINDOW line AS (PARTITION BY {key} ORDER BY valid_from)
),

placed AS (
    SELECT *, lead(valid_from) OVER (PARTITION BY {key}, _same ORDER BY valid_from) AS _end
    FROM compared
    WHERE _kind < 4
)

SELECT
    CASE _kind WHEN 2 THEN 'insert' ELSE CASE WHEN _same THEN 'delete' ELSE 'update' END END,
    {surrogate}, {key}, valid_from, _end
FROM placed
WHERE CASE _kind WHEN 1 THEN _same OR _end IS DISTINCT FROM valid_to WHEN 2 THEN NOT _same END
