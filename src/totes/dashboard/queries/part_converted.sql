-- Lines with their value in the reporting currency; NULL where there is no rate.
(
    SELECT
        line.*,
        currency.currency_code,
        CASE
            WHEN currency.currency_code = %(reporting)s THEN line.value
            ELSE line.value * rate.rate
        END AS converted
    FROM {lines} AS line
    JOIN dim_currency AS currency ON currency.currency_id = line.currency_id
    LEFT JOIN {rates} AS rate
        ON rate.currency_id = line.currency_id AND rate.day = line.day
)
