-- Payments of any day whose type has no direction: totals exclude them.
SELECT type.payment_type_name AS kind, count(*) AS payments
FROM payment_version AS payment
JOIN dim_payment_type AS type ON type.payment_type_id = payment.payment_type_id
WHERE payment.current
    AND payment.selected
    AND (
        getvariable('staff_ids') IS NULL
        OR payment.transaction_id IN (FROM selected_transaction)
    )
    AND payment.payment_type_id NOT IN (SELECT payment_type_id FROM payment_direction)
GROUP BY 1
ORDER BY 1;
