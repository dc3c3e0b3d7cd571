-- The rates as they are known now.
exchange_rate_to(%(reporting)s)
