-- The star's tables and views.
SELECT
    c.relname::text AS table,
    CASE
        WHEN c.relkind = 'v' THEN 'view'
        WHEN c.relname LIKE 'fact~_%%' ESCAPE '~' THEN 'fact'
        ELSE 'dimension'
    END AS kind,
    obj_description(c.oid, 'pg_class') AS meaning,
    -- reltuples is -1 for a table that was never analyzed: use the statistics of its writers.
    CASE
        WHEN c.relkind = 'v' THEN NULL
        WHEN c.reltuples >= 0 THEN c.reltuples::bigint
        ELSE pg_stat_get_live_tuples(c.oid)
    END AS rows_estimate
FROM pg_class AS c
WHERE c.relname = ANY(%(names)s)
    AND c.relnamespace = quote_ident(current_schema())::regnamespace
ORDER BY array_position(%(names)s::text[], c.relname::text)
