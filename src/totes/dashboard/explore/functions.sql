-- The functions of star/totesys/functions.sql, in DuckDB's SQL.

-- The factor that converts an amount, rounded to 24 decimals; it is computed in two parts, as a decimal
-- has at most 38 digits.
CREATE TEMP MACRO exchange_rate_to(reporting_currency) AS TABLE
WITH millionth AS (
    SELECT
        quoted.rate_date,
        quoted.currency_code,
        (own.rate * 1000000)::hugeint AS own,
        (quoted.rate * 1000000)::hugeint AS quoted,
        CASE
            WHEN
                quoted.currency_code = own.currency_code
                OR own.source = quoted.source
                OR own.currency_code = 'EUR'
                THEN quoted.source
            WHEN quoted.currency_code = 'EUR' THEN own.source
            ELSE quoted.source || ', ' || own.source
        END AS source,
        quoted.currency_code <> own.currency_code
        AND (quoted.carried_forward OR own.carried_forward) AS carried_forward
    FROM current_exchange_rate AS quoted
    JOIN current_exchange_rate AS own
        ON own.rate_date = quoted.rate_date AND own.currency_code = reporting_currency
),

divided AS (
    SELECT
        *,
        own * 1000000000000 // quoted AS high,
        own * 1000000000000 % quoted AS rest
    FROM millionth
)

SELECT
    rate_date,
    currency_code,
    rate_of(
        high::decimal(28, 0) * 0.000000000001::decimal(12, 12),
        ((rest * 1000000000000 + quoted // 2) // quoted)::decimal(20, 0)
    ) AS rate,
    source,
    carried_forward
FROM divided;
