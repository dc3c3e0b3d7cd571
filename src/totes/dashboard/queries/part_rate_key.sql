-- A currency's rate of a day, as one number.
(({day} - DATE '1970-01-01')::bigint * 4294967296 + {currency_id})
