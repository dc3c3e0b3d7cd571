-- When the newest deal was made.
SELECT created_at FROM "transaction" ORDER BY transaction_id DESC LIMIT 1
