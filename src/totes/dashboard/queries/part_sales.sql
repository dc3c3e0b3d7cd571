-- The sales that a filter chooses; their country is that of delivery.
(
    SELECT *
    FROM {source} AS sale
    WHERE day BETWEEN %(since)s AND %(until)s
        AND (%(currency_ids)s::int[] IS NULL OR currency_id = ANY(%(currency_ids)s))
        AND (%(location_ids)s::int[] IS NULL OR location_id = ANY(%(location_ids)s))
        AND (%(staff_ids)s::int[] IS NULL OR staff_id = ANY(%(staff_ids)s))
        AND (%(counterparties)s::int[] IS NULL OR counterparty_id = ANY(%(counterparties)s))
)
