-- Every version of one sales order, oldest first.
SELECT
    version.valid_from,
    version.valid_to,
    version.created_date,
    version.created_time,
    version.last_updated_date,
    version.last_updated_time,
    staff.name AS staff,
    counterparty.name AS counterparty,
    version.units_sold,
    version.unit_price,
    currency.currency_code AS currency,
    design.name AS design,
    version.agreed_payment_date,
    version.agreed_delivery_date,
    place.address_line_1 || ', ' || place.city || ', ' || place.country AS delivery_to,
    version.sales_staff_id,
    version.counterparty_id,
    version.design_id,
    version.agreed_delivery_location_id
FROM fact_sales_order AS version
JOIN staff ON staff.staff_id = version.sales_staff_id
JOIN counterparty ON counterparty.counterparty_id = version.counterparty_id
JOIN dim_currency AS currency ON currency.currency_id = version.currency_id
JOIN design ON design.design_id = version.design_id
JOIN dim_location AS place ON place.location_id = version.agreed_delivery_location_id
WHERE version.sales_order_id = getvariable('key')
ORDER BY version.valid_from;
