-- Lines of the daily totals: what they are not grouped by is not there.
(SELECT day, currency_id, {columns}, orders, units, value FROM {totals})
