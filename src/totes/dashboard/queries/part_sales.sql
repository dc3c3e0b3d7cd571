-- The sales that a filter chooses; their country is that of delivery.
(
    SELECT *
    FROM {source} AS sale
    WHERE day BETWEEN %(since)s AND %(until)s
        AND {narrowed}
)
