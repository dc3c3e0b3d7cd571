-- Mark payments that pay.sql skipped as paid: most within four days of the due date, one in forty
-- after forty-five days, if that is before %(at)s. payment_date is set to the day of payment.
UPDATE payment
SET
    paid = true,
    payment_date = settled_on::text,
    last_updated = settled_on + time '16:30' + payment_id %% 1800 * interval '1 second'
FROM (
    SELECT
        payment_id AS late_id,
        CASE extract(isodow FROM day) WHEN 6 THEN day + 2 WHEN 7 THEN day + 1 ELSE day END
            AS settled_on
    FROM payment,
        LATERAL (
            SELECT
                CASE WHEN pg_input_is_valid(payment_date, 'date') THEN payment_date::date END
                + CASE WHEN payment_id %% 40 = 0 THEN 45 ELSE 1 + payment_id * 7 %% 4 END AS day
        ) AS settling
    WHERE NOT paid
    FOR UPDATE OF payment SKIP LOCKED
) AS late
WHERE payment_id = late_id
    AND settled_on < %(at)s::date
RETURNING payment_id
