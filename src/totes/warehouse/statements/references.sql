-- The foreign keys from users' tables to ours, and for each a query that finds rows without a match.
SELECT
    c.conname,
    c.conrelid::regclass::text,
    c.confrelid::regclass::text,
    format(
        'SELECT FROM %s %s AS theirs WHERE ROW(%s) IS NOT NULL'
        ' AND NOT EXISTS (SELECT FROM %s AS ours WHERE (%s) = (%s)) LIMIT 1',
        CASE t.relkind WHEN 'p' THEN '' ELSE 'ONLY' END,
        c.conrelid::regclass, names.theirs, c.confrelid::regclass, names.ours, names.theirs
    )
FROM pg_constraint c
JOIN pg_class t ON t.oid = c.conrelid
CROSS JOIN LATERAL (
    SELECT
        string_agg(format('theirs.%I', a.attname), ', ' ORDER BY k.number) AS theirs,
        string_agg(format('ours.%I', o.attname), ', ' ORDER BY k.number) AS ours
    FROM unnest(c.conkey, c.confkey) WITH ORDINALITY AS k (theirs, ours, number)
    JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.theirs
    JOIN pg_attribute o ON o.attrelid = c.confrelid AND o.attnum = k.ours
) AS names
WHERE c.contype = 'f' AND c.conparentid = 0 AND c.convalidated
    AND c.confrelid = ANY({tables}::regclass[])
    AND c.conrelid <> ALL({tables}::regclass[])
ORDER BY 2, 1
