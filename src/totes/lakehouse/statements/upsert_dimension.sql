-- Insert the latest version of each dimension row, or replace the row if it differs.
CREATE OR REPLACE TEMPORARY TABLE changed AS
SELECT {columns_of_staged}
FROM (
    SELECT DISTINCT ON ({key}) {columns}
    FROM staged
    WHERE _op = 'upsert' AND valid_to IS NULL
    ORDER BY {key}, valid_from DESC
) AS s
LEFT JOIN file_rows AS d ON {dimension_and_staged}
WHERE row({columns_of_dimension}) IS DISTINCT FROM row({columns_of_staged});

INSERT INTO replaced_files
SELECT DISTINCT d._file
FROM file_rows AS d JOIN changed AS s ON {dimension_and_staged}
WHERE d._file IS NOT NULL;

DELETE FROM file_rows AS d USING changed AS s WHERE {dimension_and_staged};

INSERT INTO file_rows BY NAME FROM changed
