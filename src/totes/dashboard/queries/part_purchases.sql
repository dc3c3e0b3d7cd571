-- The purchases that a filter chooses; their country is the supplier's.
(
    SELECT *
    FROM {source} AS purchase
    WHERE day BETWEEN %(since)s AND %(until)s
        AND (%(currency_ids)s::int[] IS NULL OR currency_id = ANY(%(currency_ids)s))
        AND (%(home_ids)s::int[] IS NULL OR counterparty_id = ANY(%(home_ids)s))
        AND (%(staff_ids)s::int[] IS NULL OR staff_id = ANY(%(staff_ids)s))
        AND (%(counterparties)s::int[] IS NULL OR counterparty_id = ANY(%(counterparties)s))
)
