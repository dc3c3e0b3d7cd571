-- Suppliers by the country of their legal address.
(
    SELECT
        counterparty_id AS id,
        counterparty_legal_country AS key,
        counterparty_legal_country AS name
    FROM dim_counterparty
)
