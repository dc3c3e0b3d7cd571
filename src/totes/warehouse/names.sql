-- The names of the default schema's indexes, views and functions.
SELECT relname::text FROM pg_class
WHERE relnamespace = quote_ident(current_schema())::regnamespace AND relkind IN ('i', 'I', 'v')
UNION
SELECT proname::text FROM pg_proc
WHERE pronamespace = quote_ident(current_schema())::regnamespace
