-- That an open payment is due today, and was made today or before, which tells whether a run pays it.
NOT payment.paid
AND payment.payment_date = %(today)s
AND payment.created_date {made} payment.payment_date
