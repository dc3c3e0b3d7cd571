-- The newest day with a rate of its own and where that was read, and the day up to which it is
-- carried. The euro's rate to itself is none.
SELECT newest.rate_date AS newest, known.through, newest.source
FROM (SELECT max(rate_date) AS through FROM {rates}) AS known
LEFT JOIN (
    SELECT rate_date, source
    FROM {rates}
    WHERE currency_code <> 'EUR' AND NOT carried_forward
    ORDER BY rate_date DESC
    LIMIT 1
) AS newest ON true
