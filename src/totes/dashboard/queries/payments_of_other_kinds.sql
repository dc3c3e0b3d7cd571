-- How many payments, of any day, are of kinds that are in no sum.
SELECT type.payment_type_name AS kind, sum(line.payments)::bigint AS payments
FROM {payments} AS line
JOIN dim_payment_type AS type ON type.payment_type_id = line.payment_type_id
WHERE line.payment_type_id = ANY(%(others)s::int[])
GROUP BY 1
ORDER BY 1
