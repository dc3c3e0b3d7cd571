-- Who owes us money, and since when?
SELECT
    c.counterparty_legal_name AS customer,
    p.payment_date AS due,
    current_date - p.payment_date AS days_overdue,
    p.payment_amount AS amount,
    y.currency_code
FROM current_payment p
JOIN dim_payment_type t USING (payment_type_id)
JOIN dim_counterparty c USING (counterparty_id)
JOIN dim_currency y USING (currency_id)
WHERE t.payment_type_name = 'SALES_RECEIPT'
    AND NOT p.paid
    AND p.payment_date < current_date
ORDER BY days_overdue DESC, customer;
