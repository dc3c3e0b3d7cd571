-- One row for each address that orders can be delivered to.

select
    address_id as location_id,
    address_line_1,
    address_line_2,
    district,
    city,
    postal_code,
    country,
    phone
from address
where _changed
