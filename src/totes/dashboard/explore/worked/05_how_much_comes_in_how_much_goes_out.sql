-- How much comes in, how much goes out?
SELECT
    d.year,
    d.month,
    y.currency_code,
    coalesce(sum(p.payment_amount) FILTER (
        WHERE t.payment_type_name IN ('SALES_RECEIPT', 'PURCHASE_REFUND')
    ), 0) AS cash_in,
    coalesce(sum(p.payment_amount) FILTER (
        WHERE t.payment_type_name IN ('PURCHASE_PAYMENT', 'SALES_REFUND')
    ), 0) AS cash_out
FROM current_payment p
JOIN dim_payment_type t USING (payment_type_id)
JOIN dim_currency y USING (currency_id)
JOIN dim_date d ON d.date_id = p.payment_date
WHERE p.paid
GROUP BY d.year, d.month, y.currency_code
ORDER BY d.year, d.month, y.currency_code;
