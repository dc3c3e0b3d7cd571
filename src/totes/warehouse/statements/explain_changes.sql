-- An EXPLAIN of statements that change each of our tables. It runs nothing, but fails as they would:
-- where a publication allows no updates, or a row-level security policy applies to the loader.
SELECT string_agg(
    format(
        'EXPLAIN WITH changed AS (UPDATE %1$s SET %2$I = DEFAULT), gone AS (DELETE FROM %1$s)'
        ' INSERT INTO %1$s DEFAULT VALUES',
        a.attrelid::regclass, a.attname
    ),
    ';'
)
FROM pg_attribute a
WHERE a.attrelid = ANY({tables}::regclass[]) AND a.attnum = 1
