-- The paying batch: what is due on the day of %(at)s and was made on an earlier one. It looks at
-- that day only, so what falls due on a weekend, or on the day it was made, is never paid.
UPDATE payment
SET paid = true, last_updated = %(at)s
WHERE NOT paid
  AND payment_date = %(at)s::date::text
  AND created_at < %(at)s::date
RETURNING payment_id
