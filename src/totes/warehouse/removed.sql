-- Recorded columns that the warehouse still has and the star no longer declares.
-- Params: tables and columns, two arrays with an element for each declared column.
SELECT r.table_name, r.column_name, r.table_name = ANY(%(tables)s) AS is_table_declared
FROM totes.star_columns AS r
JOIN pg_class AS c
    ON c.relname = r.table_name AND c.relnamespace = quote_ident(current_schema())::regnamespace
JOIN pg_attribute AS a
    ON a.attrelid = c.oid AND a.attname = r.column_name AND NOT a.attisdropped
WHERE (r.table_name, r.column_name) NOT IN (
        SELECT * FROM unnest(%(tables)s::text[], %(columns)s::text[])
    )
ORDER BY r.table_name, a.attnum
