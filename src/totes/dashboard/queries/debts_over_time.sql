-- Open debts at each of the given moments, and now. Daily balances aren't stored: a balance is what
-- is open now, less what has come since that moment, plus what has ended since. Each change is read
-- once. NULL where something was open and none of it can be converted.
WITH change AS (
    SELECT
        day, currency_id, payment_type_id, counterparty_id, payments, value,
        NULL::timestamptz AS seen
    FROM {source} AS payment
    WHERE NOT paid
    UNION ALL
    SELECT
        payment_date, currency_id, payment_type_id, counterparty_id, -1, -payment_amount, valid_from
    FROM fact_payment AS payment
    WHERE NOT paid
        AND valid_from > (%(moments)s::timestamptz[])[1]
        AND {begun}
        AND CASE WHEN {true_now} THEN {whose} ELSE {whose_last} END
    UNION ALL
    SELECT
        payment_date, currency_id, payment_type_id, counterparty_id, 1, payment_amount, valid_to
    FROM fact_payment AS payment
    WHERE NOT paid
        AND valid_to > (%(moments)s::timestamptz[])[1]
        AND {ended}
        AND {whose_last}
),

chosen AS (
    SELECT * FROM change AS payment WHERE {narrowed}
),

-- For how many of the moments a change is still to come; what is open now counts for all of them.
by_kind AS (
    SELECT
        coalesce(
            width_bucket(seen - interval '1 microsecond', %(moments)s::timestamptz[]),
            cardinality(%(moments)s::timestamptz[]) + 1
        ) AS place,
        payment_type_id,
        sum(payments) AS payments,
        sum(payments) FILTER (WHERE lacks_rate) AS unconverted,
        sum(converted) AS value
    FROM {converted} AS line
    GROUP BY 1, 2
),

summed AS (
    SELECT
        by_kind.place,
        kind.direction,
        sum(by_kind.payments) AS payments,
        sum(by_kind.unconverted) AS unconverted,
        sum(kind.sign * by_kind.value) AS value
    FROM by_kind
    JOIN {kinds} AS kind ON kind.payment_type_id = by_kind.payment_type_id
    GROUP BY 1, 2
),

open AS (
    SELECT
        moment.place,
        direction.direction,
        sum(summed.payments) OVER later AS payments,
        coalesce(sum(summed.unconverted) OVER later, 0) AS unconverted,
        sum(summed.value) OVER later AS value
    FROM generate_series(1, cardinality(%(moments)s::timestamptz[]) + 1) AS moment (place)
    CROSS JOIN (VALUES ('in'), ('out')) AS direction (direction)
    LEFT JOIN summed
        ON summed.place = moment.place AND summed.direction = direction.direction
    WINDOW later AS (PARTITION BY direction.direction ORDER BY moment.place DESC)
),

shown AS (
    SELECT
        place,
        direction,
        unconverted,
        CASE
            WHEN coalesce(payments, 0) = 0 THEN 0.00
            WHEN payments <> unconverted THEN round(value, 2)
        END AS value
    FROM open
)

SELECT
    (%(moments)s::timestamptz[])[place] AS at,
    max(value) FILTER (WHERE direction = 'in') AS receivable,
    max(value) FILTER (WHERE direction = 'out') AS payable,
    sum(unconverted)::bigint AS unconverted
FROM shown
GROUP BY place
ORDER BY place
