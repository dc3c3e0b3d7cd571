-- One row for each payment type.

select
    payment_type_id,
    payment_type_name
from payment_type
where _changed
