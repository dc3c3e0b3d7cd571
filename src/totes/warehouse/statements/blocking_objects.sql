-- Objects that users created on the warehouse's tables and that block loads or rebuilds, with the
-- remedy.
SELECT
    format(
        'column %I of %s is NOT NULL and has no default', a.attname, a.attrelid::regclass
    ) AS description,
    format(
        'ALTER TABLE %s ALTER COLUMN %I DROP NOT NULL, or give it a default',
        a.attrelid::regclass, a.attname
    ) AS remedy,
    false AS blocks_only_rebuilds
FROM pg_attribute AS a
WHERE a.attrelid = ANY({stars}::regclass[])
    AND a.attnum > 0 AND NOT a.attisdropped
    AND format('%s.%s', a.attrelid::regclass, a.attname) <> ALL({columns})
    AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = ''
UNION ALL
-- ON CONFLICT and MERGE fail on tables with rules; an active rule changes the loaded rows.
SELECT
    format('rule %I on %s changes the loaded rows', r.rulename, r.ev_class::regclass),
    format('DROP RULE %I ON %s; use a trigger instead', r.rulename, r.ev_class::regclass),
    false
FROM pg_rewrite AS r
WHERE r.ev_class = ANY({tables}::regclass[])
    AND r.ev_type <> '1'
    AND (
        r.ev_class <> ALL({facts}::regclass[])
        OR r.ev_enabled IN (
            'A',
            CASE current_setting('session_replication_role') WHEN 'replica' THEN 'R' ELSE 'O' END
        )
    )
UNION ALL
-- Rows of an inheriting table also belong to its parent: a load would end them as versions, and
-- a rebuild would delete them.
SELECT
    format(
        '%s inherits from %s: its rows are rows of the star table, too',
        inhrelid::regclass, inhparent::regclass
    ),
    format('ALTER TABLE %s NO INHERIT %s', inhrelid::regclass, inhparent::regclass),
    false
FROM pg_inherits
WHERE inhparent = ANY({tables}::regclass[])
UNION ALL
-- A rebuild replaces rows that users' foreign keys refer to. PostgreSQL would reject or cascade
-- that. So the load disables PostgreSQL's check, and checks the keys at the end, for which it must
-- be able to read them.
SELECT
    format(
        'foreign key %I of %s refers to %s, whose rows a rebuild replaces',
        c.conname, c.conrelid::regclass, c.confrelid::regclass
    ),
    CASE
        WHEN current_setting('session_replication_role') <> 'replica'
            THEN format(
                    'GRANT SET ON PARAMETER session_replication_role TO %I, or drop the constraint',
                    current_user
                )
        ELSE format(
                'GRANT USAGE ON SCHEMA %s TO %2$I; GRANT SELECT ON %3$s TO %2$I',
                t.relnamespace::regnamespace, current_user, c.conrelid::regclass
            )
    END,
    true
FROM pg_constraint AS c
JOIN pg_class AS t ON t.oid = c.conrelid
WHERE c.contype = 'f' AND c.conparentid = 0
    AND c.confrelid = ANY({tables}::regclass[])
    AND c.conrelid <> ALL({tables}::regclass[])
    AND (
        current_setting('session_replication_role') <> 'replica'
        OR NOT has_schema_privilege(t.relnamespace, 'USAGE')
        OR NOT has_table_privilege(t.oid, 'SELECT')
    )
ORDER BY blocks_only_rebuilds, description
