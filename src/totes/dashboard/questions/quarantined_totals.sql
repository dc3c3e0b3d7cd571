-- The quarantined rows of one fact, by the total that they are missing from:
--   rows                 rows that belong to the total
--   value                the sum of their amounts
--   unknown_values       how many of these rows have no valid amount, or no exchange rate
--   uncertain            rows that may belong to the total: a field that decides this is invalid
--   outdated             rows whose earlier version the total includes: the newest was rejected
--   difference           by how much the newest versions would change the total
--   unknown_differences  how many of the outdated rows have no known difference
-- An invalid field of a rejected row is NULL here, and so is an amount of 10^12 or more: it has too
-- many digits for a sum.
WITH newest AS (
    SELECT key, row::json AS row
    FROM quarantine
    WHERE star_table = getvariable('fact')
        AND valid_from <= coalesce(getvariable('as_of'), 'infinity')
        AND (
            superseded_at IS NULL
            OR superseded_at > coalesce(getvariable('as_of'), 'infinity')
        )
    QUALIFY row_number() OVER (PARTITION BY key ORDER BY valid_from DESC) = 1
),

-- The fields of all three facts under common names.
field AS (
    SELECT
        key,
        CASE getvariable(
            'fact') WHEN 'fact_payment' THEN row ->> 'payment_date'
            ELSE row ->> 'created_date'
        END AS day,
        row ->> 'created_date' AS created_date,
        accepted_integer(row ->> 'currency_id') AS currency_id,
        accepted_integer(row ->> 'counterparty_id') AS counterparty_id,
        accepted_integer(row ->> 'agreed_delivery_location_id') AS location_id,
        accepted_integer(coalesce(row ->> 'sales_staff_id', row ->> 'staff_id')) AS staff_id,
        accepted_bigint(row ->> 'transaction_id') AS transaction_id,
        accepted_integer(row ->> 'payment_type_id') AS payment_type_id,
        CASE row ->> 'paid' WHEN 'true' THEN true WHEN 'false' THEN false END AS paid,
        CASE getvariable('fact')
            WHEN 'fact_sales_order' THEN row ->> 'units_sold'
            WHEN 'fact_purchase_order' THEN row ->> 'item_quantity'
            ELSE '1'
        END AS quantity,
        CASE getvariable('fact')
            WHEN 'fact_sales_order' THEN row ->> 'unit_price'
            WHEN 'fact_purchase_order' THEN row ->> 'item_unit_price'
            ELSE row ->> 'payment_amount'
        END AS price
    FROM newest
),

rejected AS (
    SELECT
        field.* REPLACE (
            accepted_date(day) AS day,
            accepted_date(created_date) AS created_date
        ),
        CASE
            WHEN regexp_full_match(price, '-?[0-9]{1,16}(\.[0-9]{1,9})?')
                AND regexp_full_match(quantity, '-?[0-9]{1,10}')
                THEN try(price::decimal(25, 9) * quantity::decimal(20, 0))
        END AS amount
    FROM field
),

-- Whose order a payment is for.
staffed AS (
    SELECT
        rejected.* REPLACE (
            CASE getvariable('fact')
                WHEN 'fact_payment' THEN coalesce(sale.staff_id, purchase.staff_id)
                ELSE rejected.staff_id
            END AS staff_id
        )
    FROM rejected
    LEFT JOIN dim_transaction AS reason ON reason.transaction_id = rejected.transaction_id
    LEFT JOIN current_order AS sale
        ON sale.kind = 'sales' AND sale.order_id = reason.sales_order_id
    LEFT JOIN current_order AS purchase
        ON purchase.kind = 'purchases' AND purchase.order_id = reason.purchase_order_id
),

version AS (
    SELECT
        rejected.key,
        false AS counted,
        selects('currency_ids', rejected.currency_id)
        AND selects('counterparties', rejected.counterparty_id)
        AND (
            getvariable('countries') IS NULL
            OR list_contains(
                getvariable('countries'),
                CASE getvariable('fact')
                    WHEN 'fact_sales_order' THEN place.country
                    ELSE counterparty.counterparty_legal_country
                END
            )
        )
        AND selects('departments', staff.department_name)
        AND selects('staff_members', rejected.staff_id) AS selected,
        rejected.day,
        rejected.created_date,
        way.direction,
        rejected.paid,
        CASE
            WHEN is_reporting(rejected.currency_id)
                THEN coalesce(way.sign, 1)::decimal(1, 0) * rejected.amount
            ELSE try(coalesce(way.sign, 1)::decimal(1, 0) * rejected.amount * rate.high_part)
        END AS high,
        CASE
            WHEN is_reporting(rejected.currency_id) THEN 0
            ELSE try(coalesce(way.sign, 1)::decimal(1, 0) * rejected.amount * rate.low_part)
        END AS low
    FROM staffed AS rejected
    LEFT JOIN dim_location AS place ON place.location_id = rejected.location_id
    LEFT JOIN dim_counterparty AS counterparty
        ON counterparty.counterparty_id = rejected.counterparty_id
    LEFT JOIN dim_staff AS staff ON staff.staff_id = rejected.staff_id
    LEFT JOIN payment_direction AS way ON way.payment_type_id = rejected.payment_type_id
    LEFT JOIN rate ON rate.day = rejected.day AND rate.currency_id = rejected.currency_id
    UNION ALL
    SELECT
        line.order_id::varchar AS key,
        true AS counted,
        line.selected,
        line.day,
        line.day AS created_date,
        NULL AS direction,
        NULL AS paid,
        try_cast(line.high AS decimal(38, 21)) AS high,
        try_cast(line.low AS decimal(38, 9)) AS low
    FROM converted_order AS line
    WHERE line.kind
        = CASE getvariable('fact')
            WHEN 'fact_sales_order' THEN 'sales' WHEN 'fact_purchase_order' THEN 'purchases'
        END
        AND line.order_id IN (SELECT try_cast(key AS bigint) FROM newest)
    UNION ALL
    SELECT
        line.payment_id::varchar AS key,
        true AS counted,
        line.selected,
        line.day,
        line.created_date,
        line.direction,
        line.paid,
        try_cast(line.high AS decimal(38, 21)) AS high,
        try_cast(line.low AS decimal(38, 9)) AS low
    FROM converted_payment AS line
    WHERE getvariable('fact') = 'fact_payment'
        AND line.payment_id IN (SELECT try_cast(key AS bigint) FROM newest)
),

total (name, direction, paid, due) AS (
    VALUES
    ('orders', NULL, NULL, 'in the period'),
    ('cash_in', 'in', true, 'in the period'),
    ('cash_out', 'out', true, 'in the period'),
    ('receivable', 'in', false, 'whenever'),
    ('payable', 'out', false, 'whenever'),
    ('overdue_receivable', 'in', false, 'before today'),
    ('overdue_payable', 'out', false, 'before today'),
    ('uncovered_receivable', 'in', false, 'uncovered'),
    ('uncovered_payable', 'out', false, 'uncovered')
),

placed AS (
    SELECT
        total.name,
        version.key,
        version.counted,
        CASE WHEN abs(version.high) < 1000000000000 THEN version.high END AS high,
        CASE WHEN abs(version.high) < 1000000000000 THEN version.low END AS low,
        version.selected
        AND (total.direction IS NULL OR version.direction = total.direction)
        AND (total.paid IS NULL OR version.paid = total.paid)
        AND CASE total.due
            WHEN 'in the period' THEN is_in_period(version.day)
            WHEN 'before today' THEN is_overdue(version.day)
            WHEN 'uncovered'
                THEN is_overdue(version.day)
                    AND lacks_payment_run(version.day, version.created_date)
            ELSE true
        END AS belongs
    FROM version
    CROSS JOIN total
),

keyed AS (
    SELECT
        name,
        bool_or(belongs) FILTER (WHERE NOT counted) AS belongs,
        max(high) FILTER (WHERE NOT counted) AS high,
        max(low) FILTER (WHERE NOT counted) AS low,
        coalesce(bool_or(belongs) FILTER (WHERE counted), false) AS counted,
        max(high) FILTER (WHERE counted) AS counted_high,
        max(low) FILTER (WHERE counted) AS counted_low
    FROM placed
    GROUP BY name, key
),

compared AS (
    SELECT
        *,
        CASE belongs WHEN true THEN high WHEN false THEN 0 END - counted_high AS difference_high,
        CASE belongs WHEN true THEN low WHEN false THEN 0 END - counted_low AS difference_low
    FROM keyed
)

SELECT
    name AS total,
    count(*) FILTER (WHERE NOT counted AND belongs) AS rows,
    total(
        count(high) FILTER (WHERE NOT counted AND belongs),
        sum(high) FILTER (WHERE NOT counted AND belongs),
        sum(low) FILTER (WHERE NOT counted AND belongs)
    ) AS value,
    count(*) FILTER (WHERE NOT counted AND belongs AND high IS NULL) AS unknown_values,
    count(*) FILTER (WHERE NOT counted AND belongs IS NULL) AS uncertain,
    count(*) FILTER (WHERE counted) AS outdated,
    total(
        count(difference_high) FILTER (WHERE counted),
        sum(difference_high) FILTER (WHERE counted),
        sum(difference_low) FILTER (WHERE counted)
    ) AS difference,
    count(*) FILTER (WHERE counted AND difference_high IS NULL) AS unknown_differences
FROM compared
GROUP BY name;
