-- The rates as they were known at a moment: what had been carried forward then still is.
(
    SELECT
        quoted.rate_date,
        quoted.currency_code,
        own.rate::numeric(36, 24) / quoted.rate AS rate
    FROM exchange_rate_as_of(%(known_at)s) AS quoted
    JOIN exchange_rate_as_of(%(known_at)s) AS own ON own.rate_date = quoted.rate_date
    WHERE own.currency_code = %(reporting)s
)
