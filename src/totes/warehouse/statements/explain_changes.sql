-- Return an EXPLAIN of statements that change each table that the load writes. EXPLAIN executes
-- nothing, but fails with the same error: if a publication does not allow updates, or a row-level
-- security policy applies to the loader.
SELECT
    string_agg(
        format(
            'EXPLAIN WITH updated AS (UPDATE %1$s SET %2$I = DEFAULT),'
            ' deleted AS (DELETE FROM %1$s) INSERT INTO %1$s DEFAULT VALUES',
            a.attrelid::regclass, a.attname
        ),
        ';'
    )
FROM pg_attribute AS a
WHERE a.attrelid = ANY({tables}::regclass[]) AND a.attnum = 1
