-- The payment that belongs to an order.
SELECT payment.*
FROM payment JOIN "transaction" USING (transaction_id)
WHERE "transaction".{order_id} = %s
