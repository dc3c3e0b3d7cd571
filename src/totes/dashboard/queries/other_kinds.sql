-- Kinds of payments of which nobody has said which way they go.
SELECT type.payment_type_id, type.payment_type_name
FROM dim_payment_type AS type
WHERE NOT EXISTS (
        SELECT FROM {kinds} AS kind WHERE kind.payment_type_id = type.payment_type_id
    )
