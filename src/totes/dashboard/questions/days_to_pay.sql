-- The days from the creation of a payment until it was paid, and the days after it was due, of the
-- payments that were paid in the period, without refunds. A payment was paid when last_updated says
-- so in its first paid version.
WITH paid AS (
    SELECT
        way.direction,
        payment.payment_id,
        arg_min(payment.created_date, payment.valid_from) AS created_on,
        arg_min(payment.day, payment.valid_from) AS due_on,
        arg_min(payment.last_updated, payment.valid_from)::date AS paid_on
    FROM payment_version AS payment
    JOIN payment_direction AS way
        ON way.payment_type_id = payment.payment_type_id AND way.sign = 1
    WHERE payment.paid
        AND payment.selected
        AND (
            getvariable('staff_ids') IS NULL
            OR payment.transaction_id IN (FROM selected_transaction)
        )
    GROUP BY way.direction, payment.payment_id
    HAVING bool_or(payment.current)
)

SELECT
    way.direction,
    count(paid.paid_on) AS payments,
    coalesce(sum(paid.paid_on - paid.created_on), 0)::bigint AS days,
    coalesce(sum(greatest(paid.paid_on - paid.due_on, 0)), 0)::bigint AS days_late
FROM (VALUES ('in'), ('out')) AS way (direction)
LEFT JOIN paid ON paid.direction = way.direction AND is_in_period(paid.paid_on)
GROUP BY way.direction
ORDER BY way.direction;
