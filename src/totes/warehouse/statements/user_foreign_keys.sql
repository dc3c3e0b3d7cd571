-- The foreign keys from users' tables to the warehouse's tables, each with a query that finds rows
-- without a match.
SELECT
    c.conname,
    c.conrelid::regclass::text,
    c.confrelid::regclass::text,
    format(
        'SELECT FROM %s %s AS referencing WHERE ROW(%s) IS NOT NULL'
        ' AND NOT EXISTS (SELECT FROM %s AS referenced WHERE (%s) = (%s)) LIMIT 1',
        CASE t.relkind WHEN 'p' THEN '' ELSE 'ONLY' END,
        c.conrelid::regclass, names.referencing,
        c.confrelid::regclass, names.referenced, names.referencing
    )
FROM pg_constraint AS c
JOIN pg_class AS t ON t.oid = c.conrelid
CROSS JOIN
    LATERAL (
        SELECT
            string_agg(format('referencing.%I', a.attname), ', ' ORDER BY k.number) AS referencing,
            string_agg(format('referenced.%I', o.attname), ', ' ORDER BY k.number) AS referenced
        FROM unnest(c.conkey, c.confkey) WITH ORDINALITY AS k (referencing, referenced, number)
        JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.referencing
        JOIN pg_attribute AS o ON o.attrelid = c.confrelid AND o.attnum = k.referenced
    ) AS names
WHERE c.contype = 'f' AND c.conparentid = 0 AND c.convalidated
    AND c.confrelid = ANY({tables}::regclass[])
    AND c.conrelid <> ALL({tables}::regclass[])
ORDER BY 2, 1
