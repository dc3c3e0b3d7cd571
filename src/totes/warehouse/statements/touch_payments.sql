-- The payments for those transactions or orders in which a batch may change whose they are, but for
-- those that another star has touched before.
INSERT INTO {touched}
SELECT payment.payment_id, {star}
FROM current_payment AS payment
WHERE payment.transaction_id IN (
    SELECT transaction_id FROM dim_transaction
    WHERE {its_key} IN (
        SELECT staged.{its_key}
        FROM {staged} AS staged
        LEFT JOIN {current} AS known ON known.{its_key} = staged.{its_key}
        WHERE staged._op <> 'upsert'
            OR known.{its_key} IS NULL
            OR ROW({staged_columns}) IS DISTINCT FROM ROW({current_columns})
    )
)
    AND NOT EXISTS (
        SELECT FROM {touched} AS known WHERE known.payment_id = payment.payment_id
    )
