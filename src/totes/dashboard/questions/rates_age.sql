-- The newest day with published rates and their origin, and the day up to which they are carried
-- forward. The euro is excluded: its rate is always 1.
SELECT newest.rate_date AS newest, last.day AS through, newest.source
FROM (SELECT max(rate_date) AS day FROM known_rate) AS last
LEFT JOIN (
    SELECT rate_date, source
    FROM known_rate
    WHERE currency_code <> 'EUR' AND NOT carried_forward
    ORDER BY rate_date DESC
    LIMIT 1
) AS newest ON true;
