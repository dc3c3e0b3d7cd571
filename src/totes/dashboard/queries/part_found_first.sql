-- That a payment is one of a few, which are found first: no statistics tell that they are few.
payment.payment_id = ANY(ARRAY(SELECT payment_id FROM {payment} AS payment WHERE {only}))
