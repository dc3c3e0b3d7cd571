-- The sales that a filter chooses; their country is that of delivery.
(
    SELECT *
    FROM {source} AS sale
    WHERE day BETWEEN %(since)s AND %(until)s
        AND (
            %(currencies)s::text[] IS NULL OR currency_id IN (
                SELECT currency_id FROM dim_currency WHERE currency_code = ANY(%(currencies)s)
            )
        )
        AND (
            %(countries)s::text[] IS NULL OR location_id IN (
                SELECT location_id FROM dim_location WHERE country = ANY(%(countries)s)
            )
        )
        AND (
            %(departments)s::text[] IS NULL OR staff_id IN (
                SELECT staff_id FROM dim_staff WHERE department_name = ANY(%(departments)s)
            )
        )
        AND (%(counterparties)s::int[] IS NULL OR counterparty_id = ANY(%(counterparties)s))
)
