-- Payment types as the warehouse must show them.
SELECT payment_type_id, payment_type_name FROM payment_type
