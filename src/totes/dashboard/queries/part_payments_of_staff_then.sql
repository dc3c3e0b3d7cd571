-- What payments were for; their orders were looked up once, for all questions of a page.
payment.transaction_id IN (
    SELECT transaction_id FROM unnest(%(transaction_ids)s::int[]) AS chosen (transaction_id)
)
