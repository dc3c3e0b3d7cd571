-- Unpaid payments that were due before the current day of the business.
SELECT currency.currency_code, count(*) AS payments, sum(payment.payment_amount) AS amount
FROM current_payment AS payment
JOIN dim_currency AS currency USING (currency_id)
WHERE NOT payment.paid
    AND payment.payment_date < (SELECT max(created_date) FROM current_payment)
GROUP BY currency.currency_code
ORDER BY currency.currency_code
