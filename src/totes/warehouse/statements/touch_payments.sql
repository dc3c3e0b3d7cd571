-- The payments for those transactions or orders in which a batch may change whose they are.
INSERT INTO {touched}
SELECT payment_id
FROM current_payment
WHERE transaction_id IN (
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
