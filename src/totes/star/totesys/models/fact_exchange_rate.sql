-- One row for each new version of a currency's rate on a day. A rate that was carried forward from
-- an earlier day is replaced when the rate of the day is published.

select
    rate_id,
    rate_date,
    currency_code,
    rate,
    source,
    carried_forward
from ecb_exchange_rate
where _changed
