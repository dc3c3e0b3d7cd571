-- Customers and suppliers.
(
    SELECT counterparty_id AS id, counterparty_id AS key, {counterparty_name} AS name
    FROM dim_counterparty AS counterparty
)
