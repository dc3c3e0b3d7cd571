-- Who asks, and whether they may change any table of the warehouse.
SELECT
    current_user,
    coalesce(
        bool_or(has_table_privilege(oid, 'INSERT, UPDATE, DELETE, TRUNCATE')), false
    ) OR has_schema_privilege(current_schema(), 'CREATE') AS may_write
FROM pg_class
WHERE relkind IN ('r', 'p')
    AND relnamespace IN (current_schema()::regnamespace, 'totes'::regnamespace)
