-- Open payments by the time since they were due; no payment run covers those in `uncovered_…`. The
-- exact value is high + low / 10^24, NULL without a rate.
WITH age (name, first_day, last_day) AS (
    VALUES
    ('not due', -999999, 0),
    ('1-30 days', 1, 30),
    ('31-60 days', 31, 60),
    ('61-90 days', 61, 90),
    ('over 90 days', 91, 999999)
),

by_day AS (
    SELECT
        direction,
        getvariable('today') - day AS days,
        is_overdue(day) AND lacks_payment_run AS uncovered,
        sum(high) AS high,
        sum(low) AS low,
        count(*) AS payments,
        count(*) FILTER (WHERE lacks_rate) AS unconverted
    FROM converted_payment
    WHERE NOT paid AND selected
    GROUP BY ALL
)

SELECT
    way.direction,
    age.name AS age,
    coalesce(sum(by_day.payments), 0)::bigint AS payments,
    total(sum(by_day.payments), sum(by_day.high), sum(by_day.low)) AS value,
    coalesce(sum(by_day.unconverted), 0)::bigint AS unconverted,
    sum(by_day.high) AS high,
    sum(by_day.low) AS low,
    coalesce(sum(by_day.payments) FILTER (WHERE by_day.uncovered), 0)::bigint AS uncovered_payments,
    coalesce(sum(by_day.unconverted) FILTER (WHERE by_day.uncovered), 0)::bigint
        AS uncovered_unconverted,
    sum(by_day.high) FILTER (WHERE by_day.uncovered) AS uncovered_high,
    sum(by_day.low) FILTER (WHERE by_day.uncovered) AS uncovered_low
FROM age
CROSS JOIN (VALUES ('in'), ('out')) AS way (direction)
LEFT JOIN by_day
    ON by_day.direction = way.direction AND by_day.days BETWEEN age.first_day AND age.last_day
GROUP BY way.direction, age.name, age.first_day
ORDER BY way.direction, age.first_day;
