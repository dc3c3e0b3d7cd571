-- That the delivery of a purchase is agreed for that day or later.
purchase.agreed_delivery_date >= %(delivery_from)s
