-- One row for each new version of a purchase order.

select
    purchase_order_id,
    split_part(created_at, ' ', 1) as created_date,
    substr(created_at, strpos(created_at, ' ') + 1) as created_time,
    split_part(last_updated, ' ', 1) as last_updated_date,
    substr(last_updated, strpos(last_updated, ' ') + 1) as last_updated_time,
    staff_id,
    counterparty_id,
    item_code,
    item_quantity,
    item_unit_price,
    currency_id,
    agreed_delivery_date,
    agreed_payment_date,
    agreed_delivery_location_id,
    _at
from purchase_order
where _changed
