-- The star's tables and views, and the totals made of them.
SELECT
    CASE n.nspname WHEN 'totes' THEN 'totes.' ELSE '' END || c.relname AS table,
    CASE
        WHEN c.relkind = 'v' THEN 'view'
        WHEN n.nspname = 'totes' THEN 'totals'
        WHEN c.relname LIKE 'fact~_%%' ESCAPE '~' THEN 'fact'
        ELSE 'dimension'
    END AS kind,
    obj_description(c.oid, 'pg_class') AS meaning,
    CASE WHEN c.reltuples >= 0 AND c.relkind <> 'v' THEN c.reltuples::bigint END AS rows_estimate
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = ANY(%(names)s)
    AND n.oid IN (current_schema()::regnamespace, 'totes'::regnamespace)
ORDER BY array_position(%(names)s::text[], c.relname::text)
