-- One row for each kind of payment.

select
    payment_type_id,
    payment_type_name
from payment_type
where _changed
