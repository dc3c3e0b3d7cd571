-- What the loader may do in a warehouse without tables, and the names that are not free.
-- Params: reader (role), stars (names of star tables).
WITH star_schema AS (
    SELECT
        coalesce(
            current_schema(),
            -- search_path names a schema that exists, but this role may not use it.
            (
                SELECT min(nspname::text)
                FROM pg_namespace
                WHERE nspname = ANY(
                        string_to_array(translate(current_setting('search_path'), '" ', ''), ',')
                    )
            )
        ) AS name
)

SELECT
    quote_ident(current_database()) AS database,
    quote_ident(name) AS schema,
    current_setting('search_path') AS search_path,
    has_database_privilege(current_database(), 'CREATE') AS can_create_schema,
    has_database_privilege(current_database(), 'TEMPORARY') AS can_create_temporary_tables,
    coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS can_create_tables,
    to_regrole(%(reader)s) IS NOT NULL
    OR (
        SELECT rolcreaterole OR rolsuper FROM pg_roles WHERE rolname = current_user
    ) AS can_create_reader,
    ARRAY(
        SELECT
            format(
                'schema %%I already has %%s', nspname, string_agg(relname, ', ' ORDER BY relname)
            )
        FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
        WHERE (nspname = star_schema.name AND relname = ANY(%(stars)s))
            OR (nspname = 'totes' AND relname <> 'migrations' AND relkind NOT IN ('i', 'S'))
        GROUP BY nspname
        ORDER BY 1
    ) AS conflicts
FROM star_schema
