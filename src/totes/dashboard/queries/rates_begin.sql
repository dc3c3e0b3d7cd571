-- When rates were first known.
SELECT min(valid_from) AS begins FROM fact_exchange_rate
