-- Orders of the period, newest first. With delivery_from: orders to be delivered from that day on,
-- soonest first. Names are looked up only for the rows that are shown.
WITH shown AS (
    SELECT *
    FROM converted_order
    WHERE kind = getvariable('kind')
        AND is_in_period(day)
        AND selected
        AND (
            getvariable('delivery_from') IS NULL
            OR agreed_delivery_date >= getvariable('delivery_from')
        )
    ORDER BY
        CASE WHEN getvariable('delivery_from') IS NOT NULL THEN agreed_delivery_date END,
        day DESC,
        created_time DESC,
        order_id DESC
    LIMIT getvariable('row_limit')
)

SELECT
    shown.order_id,
    shown.day AS created_date,
    shown.created_time,
    shown.counterparty_id,
    shown.staff_id,
    counterparty.name AS counterparty,
    CASE shown.kind WHEN 'sales' THEN place.country ELSE counterparty.country END AS country,
    place.country AS delivery_country,
    place.city,
    design.name AS design,
    shown.item_code AS item,
    staff.name AS staff,
    staff.department,
    shown.units,
    shown.unit_price,
    currency.currency_code AS currency,
    shown.amount,
    rate_of(shown.rate_high, shown.rate_low) AS rate,
    round(exact(shown.high, shown.low), 2) AS value,
    shown.agreed_delivery_date,
    shown.agreed_payment_date
FROM shown
JOIN counterparty ON counterparty.counterparty_id = shown.counterparty_id
JOIN dim_location AS place ON place.location_id = shown.location_id
JOIN staff ON staff.staff_id = shown.staff_id
JOIN dim_currency AS currency ON currency.currency_id = shown.currency_id
LEFT JOIN design ON design.design_id = shown.design_id
ORDER BY
    CASE WHEN getvariable('delivery_from') IS NOT NULL THEN shown.agreed_delivery_date END,
    shown.day DESC,
    shown.created_time DESC,
    shown.order_id DESC;
