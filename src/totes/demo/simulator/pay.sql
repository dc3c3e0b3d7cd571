-- Mark the payments due on the day of %(at)s as paid. This runs on weekdays before orders are
-- placed, so payments due on a weekend, or on the day of their order, stay open.
UPDATE payment
SET paid = true, last_updated = %(at)s
WHERE NOT paid
    AND payment_date = %(at)s::date::text
RETURNING payment_id
