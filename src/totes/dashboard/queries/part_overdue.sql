-- That a payment should have been made.
NOT payment.paid AND payment.payment_date < %(today)s
