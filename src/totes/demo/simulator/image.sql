-- A changed row for the log; null if it was deleted.
SELECT json_build_object(
    'table', %(table)s::text,
    'key', %(key)s::integer,
    'row', (SELECT row_to_json(present) FROM {table} AS present WHERE present.{id} = %(key)s)
)::text
