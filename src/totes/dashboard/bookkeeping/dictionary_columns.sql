-- The columns of the star's tables and views, in order.
SELECT
    c.relname::text AS table,
    a.attname::text AS column,
    format_type(a.atttypid, a.atttypmod) AS type,
    c.relkind = 'v' OR NOT a.attnotnull AS nullable,
    EXISTS (
        SELECT FROM pg_constraint AS p
        WHERE p.conrelid = c.oid AND p.contype = 'p' AND a.attnum = ANY(p.conkey)
    ) AS key,
    (
        SELECT f.confrelid::regclass::text
        FROM pg_constraint AS f
        WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum]
        LIMIT 1
    ) AS references,
    col_description(c.oid, a.attnum) AS meaning
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relname = ANY(%(names)s)
    AND c.relnamespace = quote_ident(current_schema())::regnamespace
ORDER BY array_position(%(names)s::text[], c.relname::text), a.attnum
