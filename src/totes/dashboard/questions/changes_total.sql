-- The changes of the period by kind. `records` are the orders or payments that changed;
-- `value_change` is the change of their amounts, of which `unconverted` have no rate.
SELECT
    each.kind,
    count(change.key) AS changes,
    count(*) FILTER (WHERE change.silent) AS silent,
    count(DISTINCT change.key) AS records,
    count(*) FILTER (WHERE change.deleted) AS deleted,
    money_sum(change.affects_amount, change.high, change.low) AS value_change,
    money_sum(
        change.affects_amount AND change.silent, change.high, change.low
    ) AS silent_value_change,
    count(*) FILTER (WHERE change.lacks_rate) AS unconverted
FROM (VALUES (1, 'sales_order'), (2, 'purchase_order'), (3, 'payment')) AS each (place, kind)
LEFT JOIN change ON change.kind = each.kind
GROUP BY each.place, each.kind
ORDER BY each.place;
