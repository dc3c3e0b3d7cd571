-- Orders, payments, counterparties and staff with an id; counterparties and staff with a text in
-- their name; and the newest orders and payments of these counterparties. At most row_limit of each
-- kind.
WITH found_party AS (
    SELECT *, coalesce(key = try_cast(getvariable('search') AS bigint), false) AS has_id
    FROM party
    WHERE has_id OR contains(lower(name), lower(getvariable('search')))
    QUALIFY row_number() OVER (PARTITION BY kind ORDER BY has_id DESC, name, key)
        <= getvariable('row_limit')
),

found_record AS (
    SELECT *, coalesce(key = try_cast(getvariable('search') AS bigint), false) AS has_id
    FROM record_version
    WHERE has_id
        OR (
            valid_to IS NULL
            AND counterparty_id IN (
                SELECT key FROM found_party WHERE kind = 'counterparty' AND NOT has_id
            )
        )
    QUALIFY row_number() OVER (PARTITION BY kind, key ORDER BY valid_from DESC) = 1
),

newest AS (
    SELECT *
    FROM found_record
    QUALIFY row_number() OVER (PARTITION BY kind ORDER BY has_id DESC, created_date DESC, key DESC)
        <= getvariable('row_limit')
)

SELECT
    kind,
    key,
    name AS counterparty,
    details,
    NULL AS amount,
    NULL AS currency,
    NULL AS created_date,
    NULL AS deleted_at,
    has_id,
    CASE kind WHEN 'counterparty' THEN 1 ELSE 2 END AS place
FROM found_party
UNION ALL
SELECT
    newest.kind,
    newest.key,
    counterparty.name AS counterparty,
    NULL AS details,
    newest.amount,
    currency.currency_code AS currency,
    newest.created_date,
    newest.valid_to AS deleted_at,
    newest.has_id,
    CASE newest.kind WHEN 'sales_order' THEN 3 WHEN 'purchase_order' THEN 4 ELSE 5 END AS place
FROM newest
JOIN counterparty ON counterparty.counterparty_id = newest.counterparty_id
JOIN dim_currency AS currency ON currency.currency_id = newest.currency_id
ORDER BY has_id DESC, place, created_date DESC, counterparty, key DESC;
