-- The sales orders themselves, the newest first. What they are called is looked up for those that
-- are shown alone.
WITH shown AS (
    SELECT *
    FROM {sales_order} AS sale
    WHERE sale.created_date BETWEEN %(since)s AND %(until)s
        AND {narrowed}
    ORDER BY sale.created_date DESC, sale.created_time DESC, sale.sales_order_id DESC
    LIMIT %(limit)s
)

SELECT
    sale.sales_order_id,
    sale.created_date,
    sale.created_time,
    {counterparty_name} AS counterparty,
    place.country,
    place.city,
    {design_name} AS design,
    {staff_name} AS staff,
    staff.department_name AS department,
    sale.units_sold AS units,
    sale.unit_price,
    currency.currency_code AS currency,
    sale.units_sold * sale.unit_price AS amount,
    {factor} AS rate,
    round(sale.units_sold * sale.unit_price * {factor}, 2) AS value,
    sale.agreed_delivery_date,
    sale.agreed_payment_date
FROM shown AS sale
JOIN dim_counterparty AS counterparty ON counterparty.counterparty_id = sale.counterparty_id
JOIN dim_location AS place ON place.location_id = sale.agreed_delivery_location_id
JOIN dim_design AS design ON design.design_id = sale.design_id
JOIN dim_staff AS staff ON staff.staff_id = sale.sales_staff_id
JOIN dim_currency AS currency ON currency.currency_id = sale.currency_id
LEFT JOIN {rates} AS rate ON rate.key = {rate_key}
ORDER BY sale.created_date DESC, sale.created_time DESC, sale.sales_order_id DESC
