-- Who asks, and whether they, or a role that they may become, may change anything of the warehouse:
-- rows of its tables and views, a column's alone, its counters, or what tables there are.
SELECT
    current_user,
    EXISTS(
        SELECT FROM pg_roles AS role
        WHERE pg_has_role(current_user, role.oid, 'MEMBER')
            AND (
                has_database_privilege(role.oid, current_database(), 'CREATE')
                OR has_schema_privilege(role.oid, current_schema(), 'CREATE')
                OR has_schema_privilege(role.oid, 'totes', 'CREATE')
                OR EXISTS (
                    SELECT FROM pg_class AS c
                    WHERE c.relnamespace
                        IN (current_schema()::regnamespace, 'totes'::regnamespace)
                        AND CASE
                            WHEN c.relkind IN ('r', 'p', 'v', 'm', 'f')
                                THEN c.relowner = role.oid
                                    OR has_table_privilege(role.oid, c.oid, 'DELETE, TRUNCATE')
                                    OR has_any_column_privilege(role.oid, c.oid, 'INSERT, UPDATE')
                            WHEN c.relkind = 'S'
                                THEN has_sequence_privilege(role.oid, c.oid, 'USAGE, UPDATE')
                        END
                )
            )
    ) AS may_write
