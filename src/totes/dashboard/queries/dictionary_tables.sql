-- The star's tables and views.
SELECT
    c.relname::text AS table,
    CASE
        WHEN c.relkind = 'v' THEN 'view'
        WHEN c.relname LIKE 'fact~_%%' ESCAPE '~' THEN 'fact'
        ELSE 'dimension'
    END AS kind,
    obj_description(c.oid, 'pg_class') AS meaning,
    CASE WHEN c.reltuples >= 0 AND c.relkind <> 'v' THEN c.reltuples::bigint END AS rows_estimate
FROM pg_class AS c
WHERE c.relname = ANY(%(names)s)
    AND c.relnamespace = current_schema()::regnamespace
ORDER BY array_position(%(names)s::text[], c.relname::text)
