-- The purchases that a filter chooses; their country is the supplier's.
(
    SELECT *
    FROM {source} AS purchase
    WHERE day BETWEEN %(since)s AND %(until)s
        AND {narrowed}
)
