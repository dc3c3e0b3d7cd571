-- Whether the loader can create temporary tables, and the owners of tables that it does not own.
-- Params: stars (names of star tables).
SELECT
    quote_ident(current_database()) AS database,
    has_database_privilege(current_database(), 'TEMPORARY') AS can_create_temporary_tables,
    ARRAY(
        SELECT DISTINCT quote_ident(pg_get_userbyid(relowner))
        FROM pg_class
        WHERE relkind IN ('r', 'p')
            AND NOT pg_has_role(relowner, 'USAGE')
            AND (
                relnamespace = 'totes'::regnamespace
                OR oid = ANY(
                    SELECT to_regclass(quote_ident(star)) FROM unnest(%(stars)s::text[]) AS star
                )
            )
        ORDER BY 1
    ) AS other_owners
