-- The keys of what a filter names, and of the reporting currency; NULL where it names nothing.
SELECT
    CASE
        WHEN %(currencies)s::text[] IS NOT NULL
            THEN ARRAY(
                    SELECT currency_id FROM dim_currency WHERE currency_code = ANY(%(currencies)s)
                )
    END AS currency_ids,
    CASE
        WHEN %(countries)s::text[] IS NOT NULL
            THEN ARRAY(SELECT location_id FROM dim_location WHERE country = ANY(%(countries)s))
    END AS location_ids,
    CASE
        WHEN %(countries)s::text[] IS NOT NULL
            THEN ARRAY(
                    SELECT counterparty_id FROM dim_counterparty
                    WHERE counterparty_legal_country = ANY(%(countries)s)
                )
    END AS home_ids,
    CASE
        WHEN %(departments)s::text[] IS NOT NULL
            THEN ARRAY(
                    SELECT staff_id FROM dim_staff WHERE department_name = ANY(%(departments)s)
                )
    END AS staff_ids,
    ARRAY(SELECT currency_id FROM dim_currency WHERE currency_code = %(reporting)s) AS own_ids
