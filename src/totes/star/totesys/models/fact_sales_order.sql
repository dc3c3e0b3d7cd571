-- One row for each new version of a sales order.

select
    sales_order_id,
    split_part(created_at, ' ', 1) as created_date,
    substr(created_at, strpos(created_at, ' ') + 1) as created_time,
    split_part(last_updated, ' ', 1) as last_updated_date,
    substr(last_updated, strpos(last_updated, ' ') + 1) as last_updated_time,
    staff_id as sales_staff_id,
    counterparty_id,
    units_sold,
    unit_price,
    currency_id,
    design_id,
    agreed_payment_date,
    agreed_delivery_date,
    agreed_delivery_location_id,
    _at
from sales_order
where _changed
