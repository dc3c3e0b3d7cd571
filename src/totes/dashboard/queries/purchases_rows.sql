-- The purchase orders themselves, the newest first; or those whose delivery is agreed from a day
-- on, the soonest first. What they are called is looked up for those that are shown alone.
WITH shown AS (
    SELECT *
    FROM {purchase_order} AS purchase
    WHERE purchase.created_date BETWEEN %(since)s AND %(until)s
        AND {narrowed}
        AND {only}
    ORDER BY {order}
    LIMIT %(limit)s
)

SELECT
    purchase.purchase_order_id,
    purchase.created_date,
    purchase.created_time,
    {counterparty_name} AS counterparty,
    counterparty.counterparty_legal_country AS country,
    place.country AS delivery_country,
    place.city,
    purchase.item_code AS item,
    {staff_name} AS staff,
    staff.department_name AS department,
    purchase.item_quantity AS quantity,
    purchase.item_unit_price AS unit_price,
    currency.currency_code AS currency,
    purchase.item_quantity * purchase.item_unit_price AS amount,
    {factor} AS rate,
    round(purchase.item_quantity * purchase.item_unit_price * {factor}, 2) AS value,
    purchase.agreed_delivery_date,
    purchase.agreed_payment_date
FROM shown AS purchase
JOIN dim_counterparty AS counterparty
    ON counterparty.counterparty_id = purchase.counterparty_id
JOIN dim_location AS place ON place.location_id = purchase.agreed_delivery_location_id
JOIN dim_staff AS staff ON staff.staff_id = purchase.staff_id
JOIN dim_currency AS currency ON currency.currency_id = purchase.currency_id
LEFT JOIN {rates} AS rate ON rate.key = {rate_key}
ORDER BY {order}
