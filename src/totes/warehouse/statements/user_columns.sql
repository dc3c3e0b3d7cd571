-- The columns whose values a rebuild must save: columns that users added to star tables, and
-- surrogate keys of facts that users' foreign keys refer to.
SELECT a.attrelid::regclass::text, array_agg(a.attname::text ORDER BY a.attnum)
FROM pg_attribute AS a
WHERE a.attrelid = ANY({stars}::regclass[])
    AND a.attnum > 0 AND NOT a.attisdropped
    AND a.attgenerated = '' AND a.attidentity <> 'a'
    AND (
        format('%s.%s', a.attrelid::regclass, a.attname) <> ALL({columns})
        OR (
            a.attname = ANY({surrogates})
            AND EXISTS (
                SELECT FROM pg_constraint AS c
                WHERE c.contype = 'f' AND c.confrelid = a.attrelid
                    AND c.conrelid <> ALL({tables}::regclass[]) AND a.attnum = ANY(c.confkey)
            )
        )
    )
GROUP BY a.attrelid
