-- One row for each new version of a payment.

select
    payment_id,
    split_part(created_at, ' ', 1) as created_date,
    substr(created_at, strpos(created_at, ' ') + 1) as created_time,
    split_part(last_updated, ' ', 1) as last_updated_date,
    substr(last_updated, strpos(last_updated, ' ') + 1) as last_updated_time,
    transaction_id,
    counterparty_id,
    payment_amount,
    currency_id,
    payment_type_id,
    paid,
    payment_date,
    _at
from payment
where _changed
