-- The columns of the star tables in the warehouse, each with its table's primary key.
-- Params: tables.
SELECT
    c.relname::text AS table_name,
    ARRAY(
        SELECT k.attname::text
        FROM pg_constraint AS p
        CROSS JOIN LATERAL unnest(p.conkey) WITH ORDINALITY AS part (attnum, position)
        JOIN pg_attribute AS k ON k.attrelid = p.conrelid AND k.attnum = part.attnum
        WHERE p.conrelid = c.oid AND p.contype = 'p'
        ORDER BY part.position
    ) AS key,
    a.attname::text AS name,
    format_type(a.atttypid, a.atttypmod) AS type,
    NOT a.attnotnull AS nullable,
    (
        SELECT t.relname::text
        FROM pg_constraint AS f
        JOIN pg_class AS t ON t.oid = f.confrelid
        WHERE f.conrelid = c.oid AND f.contype = 'f' AND f.conkey = ARRAY[a.attnum]
            AND f.convalidated AND t.relname = ANY(%(tables)s)
        ORDER BY 1
        LIMIT 1
    ) AS reference
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = quote_ident(current_schema())::regnamespace
    AND c.relkind IN ('r', 'p')
    AND c.relname = ANY(%(tables)s)
ORDER BY c.relname, a.attnum
