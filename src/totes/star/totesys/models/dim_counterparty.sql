-- One row for each counterparty, with its legal address.
-- A row changes if the counterparty or the address changes.

with

counterparties_with_addresses as (

    select
        counterparty.counterparty_id,
        counterparty.counterparty_legal_name,
        address.address_line_1 as counterparty_legal_address_line_1,
        address.address_line_2 as counterparty_legal_address_line_2,
        address.district as counterparty_legal_district,
        address.city as counterparty_legal_city,
        address.postal_code as counterparty_legal_postal_code,
        address.country as counterparty_legal_country,
        address.phone as counterparty_legal_phone_number,
        counterparty._changed or coalesce(address._changed, false) as _changed
    from counterparty
    left join address
        on counterparty.legal_address_id = address.address_id

)

select
    counterparty_id,
    counterparty_legal_name,
    counterparty_legal_address_line_1,
    counterparty_legal_address_line_2,
    counterparty_legal_district,
    counterparty_legal_city,
    counterparty_legal_postal_code,
    counterparty_legal_country,
    counterparty_legal_phone_number
from counterparties_with_addresses
where _changed
