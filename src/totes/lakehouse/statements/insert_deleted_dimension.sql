-- Insert dimension rows that leave quarantine after their deletion: facts of that time may refer to
-- them.
INSERT INTO file_rows BY NAME
SELECT DISTINCT ON ({keys_of_staged}) {columns_of_staged}
FROM staged AS s
WHERE s._op = 'upsert'
    AND s.valid_to IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM file_rows AS d WHERE {dimension_and_staged})
ORDER BY {keys_of_staged}, s.valid_from DESC
