-- The rows of the files that are replaced, and new rows. A new row goes into the file that replaces
-- one with its range of keys, if there is one.
SELECT
    o.* EXCLUDE (_file),
    coalesce(
        o._file,
        (
            SELECT min(r._file)
            FROM file_ranges AS r SEMI JOIN replaced_files USING (_file)
            WHERE o.{first_key} BETWEEN r.lower AND r.upper
        ),
        -1
    ) AS _range
FROM file_rows AS o
WHERE o._file IS NULL OR o._file IN (FROM replaced_files)
