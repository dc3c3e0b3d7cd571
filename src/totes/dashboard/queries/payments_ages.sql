-- Open payments by how long they have been due, and those of them that no run pays; also the exact
-- values, NULL where none is known.
WITH ages (age, place, first_day) AS (
    VALUES
    ('not due', 0, NULL),
    ('1-30 days', 1, 1),
    ('31-60 days', 2, 31),
    ('61-90 days', 3, 61),
    ('over 90 days', 4, 91)
),

debts AS (
    SELECT
        payment_type_id,
        width_bucket(
            %(today)s::date - day,
            ARRAY(SELECT first_day FROM ages WHERE place > 0 ORDER BY place)
        ) AS place,
        day < %(today)s AND {no_run_pays} AS never,
        sum(payments) AS payments,
        sum(payments) FILTER (WHERE lacks_rate) AS unconverted,
        sum(converted) AS value
    FROM {converted} AS line
    WHERE NOT paid
    GROUP BY 1, 2, 3
),

summed AS (
    SELECT
        kind.direction,
        debts.place,
        sum(debts.payments) AS payments,
        sum(debts.unconverted) AS unconverted,
        sum(kind.sign * debts.value) AS value,
        sum(debts.payments) FILTER (WHERE debts.never) AS never_payments,
        sum(debts.unconverted) FILTER (WHERE debts.never) AS never_unconverted,
        sum(kind.sign * debts.value) FILTER (WHERE debts.never) AS never_value
    FROM debts
    JOIN {kinds} AS kind ON kind.payment_type_id = debts.payment_type_id
    GROUP BY 1, 2
)

SELECT
    direction.direction,
    ages.age,
    coalesce(summed.payments, 0)::bigint AS payments,
    CASE WHEN summed.place IS NULL THEN 0.00 ELSE round(summed.value, 2) END AS value,
    coalesce(summed.unconverted, 0)::bigint AS unconverted,
    summed.value AS exact,
    coalesce(summed.never_payments, 0)::bigint AS never_payments,
    coalesce(summed.never_unconverted, 0)::bigint AS never_unconverted,
    summed.never_value AS never_exact
FROM ages
CROSS JOIN (VALUES ('in'), ('out')) AS direction (direction)
LEFT JOIN summed ON summed.direction = direction.direction AND summed.place = ages.place
ORDER BY direction.direction, ages.place
