-- That a payment is one that no run pays: due on a weekend, or on the day it was made, and that day
-- is over.
NOT payment.paid
AND payment.payment_date < %(today)s
AND (
    extract(ISODOW FROM payment.payment_date) > 5
    OR payment.payment_date = payment.created_date
)
