-- All selected orders of the period in one row. `converted_units` are those of orders with a rate.
SELECT
    money_sum(true, high, low) AS value,
    exact(sum(high), sum(low)) AS exact_value,
    count(*) AS orders,
    coalesce(sum(units), 0)::bigint AS units,
    coalesce(sum(units) FILTER (WHERE NOT lacks_rate), 0)::bigint AS converted_units,
    count(*) FILTER (WHERE lacks_rate) AS unconverted
FROM converted_order
WHERE kind = getvariable('kind') AND is_in_period(day) AND selected;
