-- What an amount is multiplied by; NULL where there is no rate.
CASE WHEN currency.currency_code = %(reporting)s THEN 1 ELSE rate.rate END
