-- What is dropped to fill empty tables faster, and what creates it again, in the order of creation:
-- primary keys, indexes, and foreign keys between tables of the star. An index stays where another
-- object depends on it, or where its definition would not restore all of it.
WITH plain_index AS (
    SELECT i.indexrelid AS oid, i.indrelid, c.oid AS key, c.conname
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid
    LEFT JOIN pg_constraint c ON c.conindid = x.oid AND c.conrelid = i.indrelid AND c.contype = 'p'
    WHERE i.indrelid = ANY({tables}::regclass[])
        AND i.indisvalid AND NOT i.indisclustered AND NOT i.indisreplident
        AND x.reltablespace = 0 AND (c.oid IS NULL OR x.reloptions IS NULL)
        AND obj_description(x.oid, 'pg_class') IS NULL
        AND obj_description(c.oid, 'pg_constraint') IS NULL
        AND NOT EXISTS (
            SELECT FROM pg_attribute a WHERE a.attrelid = x.oid AND a.attstattarget >= 0
        )
        AND NOT EXISTS (
            SELECT FROM pg_depend d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = x.oid
                AND d.refobjid IS DISTINCT FROM i.indrelid AND d.refobjid IS DISTINCT FROM c.oid
        )
        AND NOT EXISTS (
            SELECT FROM pg_depend d
            WHERE (d.refclassid = 'pg_class'::regclass AND d.refobjid = x.oid)
                OR (
                    d.refclassid = 'pg_constraint'::regclass AND d.refobjid = c.oid
                    AND d.objid <> x.oid
                )
        )
)

SELECT table_name, take_down, put_up
FROM (
    SELECT
        c.conrelid::regclass::text AS table_name,
        format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname) AS take_down,
        format(
            'ALTER TABLE %1$s ADD CONSTRAINT %2$I %3$s; COMMENT ON CONSTRAINT %2$I ON %1$s IS %4$L',
            c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid),
            obj_description(c.oid, 'pg_constraint')
        ) AS put_up,
        true AS is_reference
    FROM pg_constraint c
    WHERE c.contype = 'f'
        AND c.conrelid = ANY({tables}::regclass[])
        AND c.confrelid = ANY({stars}::regclass[])
    UNION ALL
    SELECT
        indrelid::regclass::text,
        format('ALTER TABLE %s DROP CONSTRAINT %I', indrelid::regclass, conname),
        format(
            'ALTER TABLE %s ADD CONSTRAINT %I %s',
            indrelid::regclass, conname, pg_get_constraintdef(key)
        ),
        false
    FROM plain_index
    WHERE key IS NOT NULL
    UNION ALL
    SELECT
        indrelid::regclass::text,
        format('DROP INDEX %s', oid::regclass),
        pg_get_indexdef(oid),
        false
    FROM plain_index
    WHERE key IS NULL
) AS definition
ORDER BY is_reference, table_name, put_up
