-- The paying batch: what is due on the day of %(at)s. It looks at no other day, early in the
-- morning of weekdays, so what falls due on a weekend, or on the day it is made, is never paid.
UPDATE payment
SET paid = true, last_updated = %(at)s
WHERE NOT paid
    AND payment_date = %(at)s::date::text
RETURNING payment_id
