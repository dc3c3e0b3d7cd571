-- The payments for those transactions or orders that a batch may change.
INSERT INTO {touched}
SELECT payment_id
FROM current_payment
WHERE transaction_id IN (
    SELECT transaction_id FROM dim_transaction
    WHERE {its_key} IN (SELECT {its_key} FROM {staged})
)
