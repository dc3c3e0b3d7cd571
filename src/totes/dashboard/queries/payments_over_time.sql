-- Cash of each day, month or year of the period; NULL where there is some but no rate for it.
WITH by_kind AS (
    SELECT
        date_trunc(%(grain)s, day::timestamp)::date AS start,
        payment_type_id,
        sum(converted) AS value,
        sum(payments) FILTER (WHERE lacks_rate) AS unconverted
    FROM {converted} AS line
    WHERE paid
    GROUP BY 1, 2
),

summed AS (
    SELECT
        by_kind.start,
        CASE
            WHEN count(*) FILTER (WHERE kind.direction = 'in') = 0 THEN 0.00
            ELSE round(sum(kind.sign * by_kind.value) FILTER (WHERE kind.direction = 'in'), 2)
        END AS cash_in,
        CASE
            WHEN count(*) FILTER (WHERE kind.direction = 'out') = 0 THEN 0.00
            ELSE round(sum(kind.sign * by_kind.value) FILTER (WHERE kind.direction = 'out'), 2)
        END AS cash_out,
        sum(by_kind.unconverted) AS unconverted
    FROM by_kind
    JOIN {kinds} AS kind ON kind.payment_type_id = by_kind.payment_type_id
    GROUP BY 1
)

SELECT
    calendar.start::date AS start,
    CASE WHEN summed.start IS NULL THEN 0.00 ELSE summed.cash_in END AS cash_in,
    CASE WHEN summed.start IS NULL THEN 0.00 ELSE summed.cash_out END AS cash_out,
    CASE WHEN summed.start IS NULL THEN 0.00 ELSE summed.cash_in - summed.cash_out END AS net,
    coalesce(summed.unconverted, 0)::bigint AS unconverted
FROM
    generate_series(
        date_trunc(%(grain)s, %(since)s::date::timestamp),
        %(until)s::date::timestamp,
        ('1 ' || %(grain)s)::interval
    ) AS calendar (start)
LEFT JOIN summed ON summed.start = calendar.start::date
ORDER BY 1
