-- That an open payment is one that no run pays, and its day is over.
NOT payment.paid AND payment.payment_date < %(today)s AND {no_run_pays}
