-- What is open and due on each day of the period, and apart from it what no run pays: that is
-- expected of nobody. NULL where there is some and none can be converted.
WITH by_kind AS (
    SELECT
        day,
        payment_type_id,
        {no_run_pays} AS never,
        sum(converted) AS value,
        sum(payments) FILTER (WHERE lacks_rate) AS unconverted
    FROM {converted} AS line
    WHERE NOT paid
    GROUP BY 1, 2, 3
),

summed AS (
    SELECT
        by_kind.day,
        kind.direction,
        by_kind.never,
        sum(kind.sign * by_kind.value) AS value,
        sum(by_kind.unconverted) AS unconverted
    FROM by_kind
    JOIN {kinds} AS kind ON kind.payment_type_id = by_kind.payment_type_id
    GROUP BY 1, 2, 3
),

told AS (
    SELECT
        calendar.day::date AS day,
        way.direction,
        way.never,
        CASE WHEN summed.day IS NULL THEN 0.00 ELSE round(summed.value, 2) END AS value,
        coalesce(summed.unconverted, 0) AS unconverted
    FROM
        generate_series(%(since)s::date::timestamp, %(until)s::date::timestamp, '1 day')
            AS calendar (day)
    CROSS JOIN
        (VALUES ('in', false), ('out', false), ('in', true), ('out', true))
            AS way (direction, never)
    LEFT JOIN summed
        ON summed.day = calendar.day::date
            AND summed.direction = way.direction
            AND summed.never = way.never
)

SELECT
    day,
    max(value) FILTER (WHERE direction = 'in' AND NOT never) AS cash_in,
    max(value) FILTER (WHERE direction = 'out' AND NOT never) AS cash_out,
    max(value) FILTER (WHERE direction = 'in' AND NOT never)
    - max(value) FILTER (WHERE direction = 'out' AND NOT never) AS net,
    max(value) FILTER (WHERE direction = 'in' AND never) AS never_in,
    max(value) FILTER (WHERE direction = 'out' AND never) AS never_out,
    sum(unconverted)::bigint AS unconverted
FROM told
GROUP BY day
ORDER BY day
