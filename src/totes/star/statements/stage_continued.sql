-- Stage again the versions of the table that continue where a version from quarantine ends.
INSERT INTO {staged}
SELECT DISTINCT ON ({keys_of_fact}, s.valid_to) {columns_of_fact}, s.valid_to, NULL, 'upsert'
FROM {staged} AS s
JOIN
    {star} AS f
    ON {fact_and_staged}
        AND f.valid_from < s.valid_to AND (f.valid_to IS NULL OR f.valid_to > s.valid_to)
WHERE s.valid_to IS NOT NULL
    AND NOT EXISTS (
        SELECT 1 FROM {staged} AS later
        WHERE {later_and_staged} AND later._op = 'upsert' AND later.valid_from = s.valid_to
    )
