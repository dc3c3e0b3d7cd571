-- Primary keys, indexes, foreign keys between star tables, and the triggers that record inserted
-- rows, with the statements that drop and create them (disable and enable, for triggers), in the
-- order of creation. They are dropped to fill empty tables faster. Left out are indexes that other
-- objects depend on, indexes that their definition would not fully restore, and the foreign keys
-- in `valid`.
WITH droppable_index AS (
    SELECT i.indexrelid AS oid, i.indrelid, c.oid AS key, c.conname
    FROM pg_index AS i
    JOIN pg_class AS x ON x.oid = i.indexrelid
    LEFT JOIN
        pg_constraint AS c
        ON c.conindid = x.oid AND c.conrelid = i.indrelid AND c.contype = 'p'
    WHERE i.indrelid = ANY({tables}::regclass[])
        AND i.indisvalid AND NOT i.indisclustered AND NOT i.indisreplident
        AND x.reltablespace = 0 AND (c.oid IS NULL OR x.reloptions IS NULL)
        AND obj_description(x.oid, 'pg_class') IS NULL
        AND obj_description(c.oid, 'pg_constraint') IS NULL
        AND NOT EXISTS (
            SELECT FROM pg_attribute AS a WHERE a.attrelid = x.oid AND a.attstattarget >= 0
        )
        AND NOT EXISTS (
            SELECT FROM pg_depend AS d
            WHERE d.classid = 'pg_class'::regclass AND d.objid = x.oid
                AND d.refobjid IS DISTINCT FROM i.indrelid AND d.refobjid IS DISTINCT FROM c.oid
        )
        AND NOT EXISTS (
            SELECT FROM pg_depend AS d
            WHERE (d.refclassid = 'pg_class'::regclass AND d.refobjid = x.oid)
                OR (
                    d.refclassid = 'pg_constraint'::regclass AND d.refobjid = c.oid
                    AND d.objid <> x.oid
                )
        )
)

SELECT table_name, drop_sql, create_sql
FROM (
    SELECT
        c.conrelid::regclass::text AS table_name,
        format('ALTER TABLE %s DROP CONSTRAINT %I', c.conrelid::regclass, c.conname) AS drop_sql,
        format(
            'ALTER TABLE %1$s ADD CONSTRAINT %2$I %3$s; COMMENT ON CONSTRAINT %2$I ON %1$s IS %4$L',
            c.conrelid::regclass, c.conname, pg_get_constraintdef(c.oid),
            obj_description(c.oid, 'pg_constraint')
        ) AS create_sql,
        true AS is_foreign_key
    FROM pg_constraint AS c
    WHERE c.contype = 'f'
        AND c.conrelid = ANY({tables}::regclass[])
        AND c.confrelid = ANY({stars}::regclass[])
        AND format('%s: %s', c.conrelid::regclass, pg_get_constraintdef(c.oid)) <> ALL({valid})
    UNION ALL
    SELECT
        indrelid::regclass::text,
        format('ALTER TABLE %s DROP CONSTRAINT %I', indrelid::regclass, conname),
        format(
            'ALTER TABLE %s ADD CONSTRAINT %I %s',
            indrelid::regclass, conname, pg_get_constraintdef(key)
        ),
        false
    FROM droppable_index
    WHERE key IS NOT NULL
    UNION ALL
    SELECT
        indrelid::regclass::text,
        format('DROP INDEX %s', oid::regclass),
        pg_get_indexdef(oid),
        false
    FROM droppable_index
    WHERE key IS NULL
    UNION ALL
    SELECT
        tgrelid::regclass::text,
        format('ALTER TABLE %s DISABLE TRIGGER %I', tgrelid::regclass, tgname),
        format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', tgrelid::regclass, tgname),
        false
    FROM pg_trigger
    WHERE tgrelid = ANY({tables}::regclass[]) AND tgfoid = 'totes.record_changes'::regproc
        AND tgtype & 4 = 4 -- of INSERT
) AS definition
ORDER BY is_foreign_key, table_name, create_sql
