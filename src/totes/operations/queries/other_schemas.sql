-- The relations named `name` in other schemas. Params: name.
SELECT format('%%I.%%I', nspname, relname)
FROM pg_class
JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relname = %(name)s
    AND relkind IN ('r', 'p', 'v', 'm', 'f')
    AND nspname NOT LIKE ALL(ARRAY['pg_%%', 'information_schema'])
ORDER BY 1
