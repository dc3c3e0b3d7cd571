-- When the newest changes were captured, up to the row limit.
SELECT min(captured_at)
FROM (
    SELECT captured_at
    FROM change
    ORDER BY captured_at DESC
    LIMIT getvariable('row_limit')
) AS newest;
