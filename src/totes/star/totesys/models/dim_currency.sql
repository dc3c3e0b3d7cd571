-- One row for each currency. The source has only the code; the name comes from ISO 4217.
-- A code that ISO 4217 does not have gets no name, so the contract rejects its row.

select
    currency.currency_id,
    currency.currency_code,
    iso_currency.name as currency_name
from currency
left join iso_currency
    on currency.currency_code = iso_currency.code
where currency._changed
