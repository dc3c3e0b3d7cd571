-- The European Central Bank's exchange rates, for every day and with their history.

CREATE TABLE fact_exchange_rate (
    exchange_rate_record_id serial PRIMARY KEY,
    rate_id varchar NOT NULL,
    rate_date date NOT NULL REFERENCES dim_date,
    currency_code varchar NOT NULL,
    rate numeric NOT NULL,
    source varchar NOT NULL,
    carried_forward boolean NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz
);
CREATE UNIQUE INDEX fact_exchange_rate_version ON fact_exchange_rate (rate_id, valid_from);
CREATE UNIQUE INDEX fact_exchange_rate_current ON fact_exchange_rate (rate_id)
WHERE valid_to IS NULL;
CREATE UNIQUE INDEX fact_exchange_rate_day ON fact_exchange_rate (rate_date, currency_code)
WHERE valid_to IS NULL;
COMMENT ON TABLE fact_exchange_rate IS
    'A version of a currency''s rate on a day: one that was carried forward is replaced.';
COMMENT ON COLUMN fact_exchange_rate.exchange_rate_record_id IS
    'This version: a number without further meaning.';
COMMENT ON COLUMN fact_exchange_rate.rate_id IS
    'The day and the currency, such as 2022-11-03 USD; it repeats with every version.';
COMMENT ON COLUMN fact_exchange_rate.rate_date IS 'The day that the rate is for.';
COMMENT ON COLUMN fact_exchange_rate.currency_code IS 'The currency, by its code of ISO 4217.';
COMMENT ON COLUMN fact_exchange_rate.rate IS
    'Units of the currency for one euro, as the European Central Bank published it.';
COMMENT ON COLUMN fact_exchange_rate.source IS
    'Where the rate was read: the list that came with the program, or a host; the euro''s own is '
    'by definition.';
COMMENT ON COLUMN fact_exchange_rate.carried_forward IS
    'Whether it is the rate of the last business day before, as the day has none of its own (yet).';
COMMENT ON COLUMN fact_exchange_rate.valid_from IS 'When the platform first knew this version.';
COMMENT ON COLUMN fact_exchange_rate.valid_to IS
    'When it stopped being true: the next version''s valid_from, or the moment the currency was '
    'known to have ended before; NULL while it is true.';

CREATE VIEW current_exchange_rate AS
SELECT exchange_rate_record_id, rate_id, rate_date, currency_code, rate, source, carried_forward
FROM fact_exchange_rate
WHERE valid_to IS NULL;
COMMENT ON VIEW current_exchange_rate IS
    'The rate of every currency on every day, in units for one euro, as it is known now.';

CREATE FUNCTION exchange_rate_as_of(moment timestamptz) RETURNS SETOF current_exchange_rate
LANGUAGE sql STABLE
BEGIN ATOMIC
SELECT exchange_rate_record_id, rate_id, rate_date, currency_code, rate, source, carried_forward
FROM fact_exchange_rate
WHERE valid_from <= moment AND (valid_to IS NULL OR valid_to > moment);
END;
COMMENT ON FUNCTION exchange_rate_as_of(timestamptz) IS
    'The rate of every currency on every day, as it was known at a moment.';

-- A plain SELECT without STRICT: the planner puts it into the query that uses it, indexes and all.
-- 24 fraction digits leave some twenty to the smallest factor there is.
CREATE FUNCTION exchange_rate_to(reporting text) RETURNS TABLE (
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
FROM fact_exchange_rate r
JOIN fact_exchange_rate t ON t.rate_date = r.rate_date
WHERE r.valid_to IS NULL AND t.valid_to IS NULL AND t.currency_code = reporting;
END;
COMMENT ON FUNCTION exchange_rate_to(text) IS
    'For every day and currency what an amount is multiplied by, to have it in the reporting '
    'currency, such as exchange_rate_to(''GBP''); no row where no rate is known.';

-- A view's column means what its table's means.
DO $$
DECLARE
    described record;
BEGIN
    FOR described IN
        SELECT a.attname, col_description(t.attrelid, t.attnum) AS comment
        FROM pg_attribute a
        JOIN pg_attribute t
            ON t.attrelid = 'fact_exchange_rate'::regclass AND t.attname = a.attname
        WHERE a.attrelid = 'current_exchange_rate'::regclass AND a.attnum > 0
    LOOP
        EXECUTE format(
            'COMMENT ON COLUMN current_exchange_rate.%I IS %L',
            described.attname, described.comment
        );
    END LOOP;
END
$$;

GRANT SELECT ON fact_exchange_rate, current_exchange_rate TO totes_reader;
