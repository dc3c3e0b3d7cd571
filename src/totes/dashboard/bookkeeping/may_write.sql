-- The current user, and an object of the warehouse that this role, or one that it may become, may
-- change: schemas, tables, views, columns, sequences. NULL if there is none. `for_all`: every role
-- may create tables there, so no other login would help.
SELECT
    current_user,
    quote_ident(current_schema()) AS schema,
    (
        SELECT min(may.what)
        FROM pg_roles AS role
        CROSS JOIN
            LATERAL (
                SELECT format('create schemas in database %I', current_database()) AS what
                WHERE has_database_privilege(role.oid, current_database(), 'CREATE')
                UNION ALL
                SELECT format('create tables in schema %I', s.name)
                FROM (VALUES (current_schema()), ('totes')) AS s (name)
                WHERE has_schema_privilege(role.oid, s.name, 'CREATE')
                UNION ALL
                SELECT format('write to %s', c.oid::regclass)
                FROM pg_class AS c
                WHERE c.relnamespace
                    IN (quote_ident(current_schema())::regnamespace, 'totes'::regnamespace)
                    AND CASE
                        WHEN c.relkind IN ('r', 'p', 'v', 'm', 'f')
                            THEN c.relowner = role.oid
                                OR has_table_privilege(role.oid, c.oid, 'DELETE, TRUNCATE')
                                OR has_any_column_privilege(role.oid, c.oid, 'INSERT, UPDATE')
                        WHEN c.relkind = 'S'
                            THEN has_sequence_privilege(role.oid, c.oid, 'USAGE, UPDATE')
                    END
            ) AS may
        WHERE pg_has_role(current_user, role.oid, 'MEMBER')
    ) AS may,
    has_schema_privilege('public', current_schema(), 'CREATE') AS for_all
