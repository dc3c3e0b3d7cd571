-- Functions of this star in addition to the functions that every fact has. Each
-- `totes warehouse migrate` runs this file, so statements must be repeatable.

-- The planner inlines a single SELECT that is not STRICT into the calling query.
-- With 24 fraction digits, the smallest factor has about 20 significant digits.
CREATE OR REPLACE FUNCTION exchange_rate_to(reporting text) RETURNS TABLE (
    rate_date date, currency_code varchar, rate numeric, source varchar, carried_forward boolean
)
LANGUAGE sql STABLE
BEGIN ATOMIC
SELECT
    r.rate_date,
    r.currency_code,
    t.rate::numeric(36, 24) / r.rate,
    CASE
        WHEN r.currency_code = t.currency_code OR t.source = r.source OR t.currency_code = 'EUR'
            THEN r.source
        WHEN r.currency_code = 'EUR' THEN t.source
        ELSE r.source || ', ' || t.source
    END,
    r.currency_code <> t.currency_code AND (r.carried_forward OR t.carried_forward)
FROM fact_exchange_rate AS r
JOIN fact_exchange_rate AS t ON t.rate_date = r.rate_date
WHERE r.valid_to IS NULL AND t.valid_to IS NULL AND t.currency_code = reporting;
END;
COMMENT ON FUNCTION exchange_rate_to(text) IS
    'The factor for each day and currency that converts an amount into the reporting currency, '
    'such as exchange_rate_to(''GBP''). There is no row if there is no rate.';
