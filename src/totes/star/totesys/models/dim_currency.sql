-- One row for each currency. Its name is the one ISO 4217 gives to the code, which the source
-- does not hold; a code that ISO does not know gets no name here and is refused.

select
    currency.currency_id,
    currency.currency_code,
    iso_currency.name as currency_name
from currency
left join iso_currency
    on currency.currency_code = iso_currency.code
where currency._changed
