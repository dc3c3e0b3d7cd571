-- The current generation: the newest with a pointer; generation 1 needs none.
-- The cast fails, with this message, if partitions of that generation are not projected.
SELECT
    CASE
        WHEN newest <= ${generations} THEN newest
        ELSE CAST(concat(
                'raise the variable generations of the catalogue to ', CAST(newest AS varchar)
            ) AS integer)
    END AS generation
FROM (SELECT CAST(coalesce(max(generation), 1) AS integer) AS newest FROM generations) AS pointers
