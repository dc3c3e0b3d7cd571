-- One row for each new version of a currency's rate on a day: what was carried forward to it is
-- replaced once the day's own rate is known.

select
    rate_id,
    rate_date,
    currency_code,
    rate,
    source,
    carried_forward
from ecb_exchange_rate
where _changed
