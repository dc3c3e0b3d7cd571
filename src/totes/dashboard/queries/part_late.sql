-- That an open payment is only late: a run would have paid it.
NOT payment.paid
AND payment.payment_date < %(today)s
AND payment.payment_date <> payment.created_date
AND extract(ISODOW FROM payment.payment_date) <= 5
