-- The names of the default schema's indexes, views and functions; triggers as table.trigger.
SELECT relname::text FROM pg_class
WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind IN ('i', 'I', 'v')
UNION
SELECT proname::text FROM pg_proc
WHERE pronamespace = quote_ident(current_schema())::regnamespace
UNION
SELECT c.relname || '.' || t.tgname
FROM pg_trigger AS t
JOIN pg_class AS c ON c.oid = t.tgrelid
WHERE c.relnamespace = quote_ident(current_schema())::regnamespace
