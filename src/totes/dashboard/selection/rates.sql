-- The rates of all currencies to the reporting currency: see the table `rate` in views.sql. The
-- newest rates also apply to the 366 days after them. A rate of a million or more is left out, as
-- its products have too many digits.
CREATE OR REPLACE TEMP TABLE rate AS
WITH millionth AS (
    SELECT
        quoted.rate_date AS day,
        currency.currency_id,
        (own.rate::decimal(30, 6) * 1000000)::hugeint AS own,
        (quoted.rate::decimal(30, 6) * 1000000)::hugeint AS quoted
    FROM known_rate AS quoted
    JOIN known_rate AS own
        ON own.rate_date = quoted.rate_date AND own.currency_code = getvariable('reporting')
    JOIN dim_currency AS currency
        ON currency.currency_code = quoted.currency_code
            AND currency.currency_code <> getvariable('reporting')
),

divided AS (
    SELECT
        day,
        currency_id,
        own * 1000000000000 // quoted AS high,
        own * 1000000000000 % quoted AS rest,
        quoted
    FROM millionth
),

known AS (
    SELECT
        day,
        currency_id,
        high::decimal(28, 0) * 0.000000000001::decimal(12, 12) AS high_part,
        ((rest * 1000000000000 + quoted // 2) // quoted)::decimal(20, 0) AS low_part
    FROM divided
    WHERE high < 1000000 * 1000000000000::hugeint
),

newest AS (
    SELECT max(rate_date) AS day FROM known_rate
)

SELECT day, currency_id, high_part, low_part FROM known
UNION ALL
SELECT known.day + ahead.days AS day, known.currency_id, known.high_part, known.low_part
FROM newest
JOIN known ON known.day = newest.day
CROSS JOIN (SELECT unnest(range(1, 367))::integer AS days) AS ahead;
