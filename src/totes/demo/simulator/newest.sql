-- When the newest order was created.
SELECT created_at FROM "transaction" ORDER BY transaction_id DESC LIMIT 1
