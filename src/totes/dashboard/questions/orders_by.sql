-- Orders by one dimension, the largest value first: counterparty, staff, department, country,
-- currency, design (of sales) or item (of purchases). They are summed by id before names are
-- looked up. `exact_value`, and `exact_total` of all rows, are for averages and shares.
WITH member AS (
    SELECT staff_id AS id, staff_id::varchar AS key, name FROM staff
    WHERE getvariable('dimension') = 'staff'
    UNION ALL
    SELECT staff_id AS id, department AS key, department AS name FROM staff
    WHERE getvariable('dimension') = 'department'
    UNION ALL
    SELECT counterparty_id AS id, counterparty_id::varchar AS key, name FROM counterparty
    WHERE getvariable('dimension') = 'counterparty'
    UNION ALL
    SELECT location_id AS id, country AS key, country AS name FROM dim_location
    WHERE getvariable('dimension') = 'country' AND getvariable('kind') = 'sales'
    UNION ALL
    SELECT counterparty_id AS id, country AS key, country AS name FROM counterparty
    WHERE getvariable('dimension') = 'country' AND getvariable('kind') = 'purchases'
    UNION ALL
    SELECT currency_id AS id, currency_code AS key, currency_code AS name FROM dim_currency
    WHERE getvariable('dimension') = 'currency'
    UNION ALL
    SELECT design_id AS id, design_id::varchar AS key, name FROM design
    WHERE getvariable('dimension') = 'design'
),

by_id AS (
    SELECT
        CASE getvariable('dimension')
            WHEN 'staff' THEN staff_id
            WHEN 'department' THEN staff_id
            WHEN 'counterparty' THEN counterparty_id
            WHEN 'country'
                THEN CASE
                        WHEN getvariable('kind') = 'sales' THEN location_id ELSE counterparty_id
                    END
            WHEN 'currency' THEN currency_id
            WHEN 'design' THEN design_id
        END AS id,
        CASE WHEN getvariable('dimension') = 'item' THEN item_code END AS item,
        sum(amount) AS own_value,
        sum(high) AS high,
        sum(low) AS low,
        count(*) AS orders,
        sum(units) AS units,
        sum(units) FILTER (WHERE NOT lacks_rate) AS converted_units,
        count(*) FILTER (WHERE lacks_rate) AS unconverted
    FROM converted_order
    WHERE kind = getvariable('kind') AND is_in_period(day) AND selected
    GROUP BY 1, 2
),

named AS (
    SELECT
        member.key,
        any_value(member.name) AS name,
        sum(by_id.high) AS high,
        sum(by_id.low) AS low,
        sum(by_id.own_value) AS own_value,
        sum(by_id.orders) AS orders,
        sum(by_id.units) AS units,
        sum(by_id.converted_units) AS converted_units,
        sum(by_id.unconverted) AS unconverted
    FROM by_id
    JOIN member ON member.id = by_id.id
    GROUP BY member.key
    UNION ALL
    SELECT
        item AS key,
        item AS name,
        high,
        low,
        own_value,
        orders,
        units,
        converted_units,
        unconverted
    FROM by_id
    WHERE item IS NOT NULL
),

shown AS (
    SELECT *, exact(high, low) AS exact_value
    FROM named
    ORDER BY exact_value DESC NULLS LAST, orders DESC, name, key
    LIMIT getvariable('row_limit')
)

SELECT
    key,
    name,
    round(exact_value, 2) AS value,
    orders::bigint AS orders,
    units::bigint AS units,
    unconverted::bigint AS unconverted,
    own_value,
    coalesce(converted_units, 0)::bigint AS converted_units,
    exact_value,
    (SELECT exact(sum(high), sum(low)) FROM by_id) AS exact_total
FROM shown
ORDER BY shown.exact_value DESC NULLS LAST, shown.orders DESC, name, key;
