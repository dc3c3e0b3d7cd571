-- The parameters of the questions with their defaults, and the macros and views that questions use.
-- To run a question by hand, open a replica in DuckDB's shell: .read views.sql,
-- SET VARIABLE since = date '2025-01-01', .read each file of selection/, and
-- .read questions/orders_total.sql.

SET TimeZone = 'UTC';

-- The filter. NULL selects all; as_of NULL is now.
SET VARIABLE since = date '1900-01-01';
SET VARIABLE until = date '2200-12-31';
SET VARIABLE currencies = NULL::varchar[];
SET VARIABLE countries = NULL::varchar[];
SET VARIABLE departments = NULL::varchar[];
SET VARIABLE counterparties = NULL::integer[];
SET VARIABLE staff_members = NULL::integer[];
SET VARIABLE as_of = NULL::timestamptz;
SET VARIABLE reporting = 'GBP';

-- The keys that the filter selects, set by selection/keys.sql. NULL selects all.
SET VARIABLE currency_ids = NULL::integer[];
SET VARIABLE location_ids = NULL::integer[];
SET VARIABLE counterparty_country_ids = NULL::integer[];
SET VARIABLE staff_ids = NULL::integer[];
SET VARIABLE reporting_currency_ids = NULL::integer[];

-- Parameters of single questions.
SET VARIABLE kind = 'sales'; -- or purchases
SET VARIABLE dimension = 'country'; -- see orders_by.sql
SET VARIABLE grain = 'month'; -- or day, week, year
SET VARIABLE today = (SELECT current_date);
SET VARIABLE row_limit = NULL::bigint;
SET VARIABLE each = 3;
SET VARIABLE at_least = 100;
SET VARIABLE delivery_from = NULL::date;
SET VARIABLE which = 'paid'; -- see payment_rows.sql
SET VARIABLE moments = [timestamptz '2000-01-01'];
SET VARIABLE fact = 'fact_sales_order'; -- or fact_purchase_order, fact_payment
SET VARIABLE key = 1;
SET VARIABLE record_kind = NULL::varchar; -- sales_order, purchase_order or payment
SET VARIABLE record_key = NULL::bigint;
SET VARIABLE changed_column = NULL::varchar; -- see the view change
SET VARIABLE only_silent = NULL::boolean;
SET VARIABLE captured_from = NULL::timestamptz;
SET VARIABLE captured_after = NULL::timestamptz;
SET VARIABLE search = NULL::varchar;

-- Whether a version is current, now or as of a moment.
CREATE OR REPLACE TEMP MACRO is_current(valid_from, valid_to) AS
CASE
    WHEN getvariable('as_of') IS NULL THEN valid_to IS NULL
    ELSE valid_from <= getvariable('as_of')
        AND (valid_to IS NULL OR valid_to > getvariable('as_of'))
END;

-- Whether the filter selects a value.
CREATE OR REPLACE TEMP MACRO selects(variable, value) AS
getvariable(variable) IS NULL OR list_contains(getvariable(variable), value);

-- The value of a field of a rejected row, NULL if the contract does not accept it.
CREATE OR REPLACE TEMP MACRO accepted_integer(field) AS
CASE WHEN try_cast(field AS integer)::varchar = field THEN try_cast(field AS integer) END;

CREATE OR REPLACE TEMP MACRO accepted_bigint(field) AS
CASE WHEN try_cast(field AS bigint)::varchar = field THEN try_cast(field AS bigint) END;

CREATE OR REPLACE TEMP MACRO accepted_date(field) AS
CASE
    WHEN try_cast(field AS date)::varchar = field
        AND try_cast(field AS date) BETWEEN date '1900-01-01' AND date '2200-12-31'
        THEN try_cast(field AS date)
END;

-- A converted amount has two parts, high + low / 10^24, because a decimal has at most 38 digits and
-- a rate has 24 decimals. Their sum, truncated after 14 decimals: round() then gives the same
-- result as for the exact sum.
CREATE OR REPLACE TEMP MACRO exact(high, low) AS
high + 0.00000000000001::decimal(14, 14) * CASE
    WHEN high + 0.00000000000001::decimal(14, 14) * floor(low * 0.0000000001::decimal(10, 10)) < 0
        THEN ceil(low * 0.0000000001::decimal(10, 10))
    ELSE floor(low * 0.0000000001::decimal(10, 10))
END;

CREATE OR REPLACE TEMP MACRO is_reporting(currency_id) AS
list_contains(getvariable('reporting_currency_ids'), currency_id);

-- An amount times a part of its rate, which is below a million. It is NULL if the amount or the
-- converted amount is 10^18 or more: the sum of a million of them can have more digits than a
-- decimal has. The first condition is for speed: other conditions need not be computed.
CREATE OR REPLACE TEMP MACRO converted(amount, rate_high, rate_part) AS
CASE
    WHEN abs(amount) < 1000000000000 THEN amount * rate_part
    WHEN abs(amount) >= 1000000000000000000 THEN NULL
    WHEN abs(amount * rate_high) < 1000000000000000000 THEN amount * rate_part
END;

-- The rounded sum of `row_count` rows: 0 without rows, NULL if no row has a rate.
CREATE OR REPLACE TEMP MACRO total(row_count, high, low) AS
CASE WHEN coalesce(row_count, 0) = 0 THEN 0::decimal(38, 2) ELSE round(exact(high, low), 2) END;

-- The rounded sum of the rows that match a condition: metrics/definitions.py names these sums.
CREATE OR REPLACE TEMP MACRO money_sum(matches, high, low) AS
total(
    count(*) FILTER (WHERE matches),
    sum(high) FILTER (WHERE matches),
    sum(low) FILTER (WHERE matches)
);

-- The price of one unit, with four decimals.
CREATE OR REPLACE TEMP MACRO price_of(high, low, units) AS
(round(money_sum(true, high, low)::double / nullif(sum(units), 0), 4))::decimal(38, 4);

CREATE OR REPLACE TEMP MACRO is_in_period(day) AS
day BETWEEN getvariable('since') AND getvariable('until');

CREATE OR REPLACE TEMP MACRO is_overdue(day) AS day < getvariable('today');

-- The exchange rate of a row, with all of its decimals.
CREATE OR REPLACE TEMP MACRO rate_of(rate_high, rate_low) AS
rate_high::decimal(38, 24) + rate_low * 0.000000000000000000000001::decimal(24, 24);

-- Whether no payment run covers a payment: it is due on a weekend, or on the day it was created.
CREATE OR REPLACE TEMP MACRO lacks_payment_run(payment_date, created_date) AS
isodow(payment_date) > 5 OR payment_date = created_date;

-- The name of a counterparty, design or member of staff, with its key if the name is not unique.
CREATE OR REPLACE TEMP MACRO distinct_name(name, key, namesakes) AS
CASE WHEN namesakes > 1 THEN name || ' (id ' || key || ')' ELSE name END;

CREATE OR REPLACE TEMP VIEW counterparty AS
SELECT
    counterparty_id,
    distinct_name(
        counterparty_legal_name,
        counterparty_id,
        count(*) OVER (PARTITION BY counterparty_legal_name)
    ) AS name,
    counterparty_legal_country AS country
FROM dim_counterparty;

CREATE OR REPLACE TEMP VIEW design AS
SELECT
    design_id,
    distinct_name(design_name, design_id, count(*) OVER (PARTITION BY design_name)) AS name
FROM dim_design;

CREATE OR REPLACE TEMP VIEW staff AS
SELECT
    staff_id,
    distinct_name(
        first_name || ' ' || last_name,
        staff_id,
        count(*) OVER (PARTITION BY first_name || ' ' || last_name)
    ) AS name,
    department_name AS department
FROM dim_staff;

-- Counterparties and staff, with the country or the department.
CREATE OR REPLACE TEMP VIEW party AS
SELECT 'counterparty' AS kind, counterparty_id AS key, name, country AS details
FROM counterparty
UNION ALL
SELECT 'staff' AS kind, staff_id AS key, name, department AS details
FROM staff;

-- The exchange rates that were known at as_of; the earliest known rates if as_of is before them.
CREATE OR REPLACE TEMP VIEW known_rate AS
SELECT rate_date, currency_code, rate, source, carried_forward
FROM fact_exchange_rate
WHERE CASE
        WHEN getvariable('as_of') IS NULL THEN valid_to IS NULL
        ELSE valid_from <= greatest(
                getvariable('as_of'), (SELECT min(valid_from) FROM fact_exchange_rate)
            )
            AND (
                valid_to IS NULL
                OR valid_to > greatest(
                    getvariable('as_of'), (SELECT min(valid_from) FROM fact_exchange_rate)
                )
            )
    END;

-- The factor that converts an amount, by day and currency, in two parts: a number with 12 decimals,
-- and decimals 13 to 24 as an integer. selection/rates.sql fills it.
CREATE OR REPLACE TEMP TABLE rate (
    day date, currency_id integer, high_part decimal(38, 12), low_part decimal(20, 0)
);

-- The transactions of orders by the selected staff. selection/transactions.sql fills it.
CREATE OR REPLACE TEMP TABLE selected_transaction (transaction_id bigint);

-- All versions of orders. `selected` is true if the filter selects the version. The country of a
-- sale is the country of delivery, that of a purchase is the supplier's.
CREATE OR REPLACE TEMP VIEW order_version AS
SELECT
    'sales' AS kind,
    sales_order_id AS order_id,
    created_date AS day,
    created_time,
    last_updated_date + last_updated_time AS last_updated,
    counterparty_id,
    sales_staff_id AS staff_id,
    agreed_delivery_location_id AS location_id,
    design_id,
    NULL::varchar AS item_code,
    units_sold AS units,
    unit_price::decimal(18, 2) AS unit_price,
    units_sold::decimal(28, 0) * unit_price AS amount,
    currency_id,
    agreed_delivery_date,
    agreed_payment_date,
    valid_from,
    valid_to,
    selects('counterparties', counterparty_id)
    AND selects('currency_ids', currency_id)
    AND selects('staff_ids', sales_staff_id)
    AND selects('location_ids', agreed_delivery_location_id) AS selected
FROM fact_sales_order
UNION ALL
SELECT
    'purchases' AS kind,
    purchase_order_id AS order_id,
    created_date AS day,
    created_time,
    last_updated_date + last_updated_time AS last_updated,
    counterparty_id,
    staff_id,
    agreed_delivery_location_id AS location_id,
    NULL::integer AS design_id,
    item_code,
    item_quantity AS units,
    item_unit_price AS unit_price,
    item_quantity::decimal(28, 0) * item_unit_price AS amount,
    currency_id,
    agreed_delivery_date,
    agreed_payment_date,
    valid_from,
    valid_to,
    selects('counterparties', counterparty_id)
    AND selects('currency_ids', currency_id)
    AND selects('staff_ids', staff_id)
    AND selects('counterparty_country_ids', counterparty_id) AS selected
FROM fact_purchase_order;

CREATE OR REPLACE TEMP VIEW current_order AS
SELECT * EXCLUDE (last_updated, valid_from, valid_to)
FROM order_version
WHERE is_current(valid_from, valid_to);

-- Orders with their amount in the reporting currency: exact(high, low), NULL without a rate.
CREATE OR REPLACE TEMP VIEW converted_order AS
SELECT
    line.*,
    CASE WHEN is_reporting(line.currency_id) THEN 1 ELSE rate.high_part END AS rate_high,
    CASE WHEN is_reporting(line.currency_id) THEN 0 ELSE rate.low_part END AS rate_low,
    converted(line.amount, rate_high, rate_high) AS high,
    converted(line.amount, rate_high, rate_low) AS low,
    high IS NULL AS lacks_rate
FROM current_order AS line
LEFT JOIN rate ON rate.day = line.day AND rate.currency_id = line.currency_id;

-- The direction of each type of payment; refunds are subtracted.
CREATE OR REPLACE TEMP VIEW payment_direction AS
SELECT type.payment_type_id, type.payment_type_name, way.direction, way.sign
FROM dim_payment_type AS type
JOIN (
    VALUES
    ('SALES_RECEIPT', 'in', 1),
    ('SALES_REFUND', 'in', -1),
    ('PURCHASE_PAYMENT', 'out', 1),
    ('PURCHASE_REFUND', 'out', -1)
) AS way (payment_type_name, direction, sign)
    ON way.payment_type_name = type.payment_type_name;

-- The transactions of the selected staff, for debts that have ended since the first of the
-- moments: by the last version of the order, as the order may have been deleted.
CREATE OR REPLACE TEMP VIEW once_selected_transaction AS
WITH reason AS (
    SELECT * FROM dim_transaction
    WHERE transaction_id IN (
            SELECT transaction_id FROM fact_payment
            WHERE NOT paid AND valid_to > getvariable('moments')[1]
        )
),

sale AS (
    SELECT sales_order_id, arg_max(sales_staff_id, valid_from) AS staff_id
    FROM fact_sales_order
    WHERE valid_from <= coalesce(getvariable('as_of'), 'infinity')
        AND sales_order_id IN (SELECT sales_order_id FROM reason)
    GROUP BY sales_order_id
),

purchase AS (
    SELECT purchase_order_id, arg_max(staff_id, valid_from) AS staff_id
    FROM fact_purchase_order
    WHERE valid_from <= coalesce(getvariable('as_of'), 'infinity')
        AND purchase_order_id IN (SELECT purchase_order_id FROM reason)
    GROUP BY purchase_order_id
)

SELECT reason.transaction_id
FROM reason
LEFT JOIN sale ON sale.sales_order_id = reason.sales_order_id
LEFT JOIN purchase ON purchase.purchase_order_id = reason.purchase_order_id
WHERE selects('staff_ids', coalesce(sale.staff_id, purchase.staff_id));

-- All versions of payments up to as_of. `selected` is true if the filter selects the version,
-- except by staff. The country of a payment is the counterparty's.
CREATE OR REPLACE TEMP VIEW payment_version AS
SELECT
    payment.payment_id,
    payment.payment_type_id,
    payment.transaction_id,
    payment.counterparty_id,
    payment.currency_id,
    payment.created_date,
    payment.created_time,
    payment.last_updated_date + payment.last_updated_time AS last_updated,
    payment.payment_date AS day,
    payment.paid,
    payment.payment_amount AS amount,
    lacks_payment_run(payment.payment_date, payment.created_date) AS lacks_payment_run,
    payment.valid_from,
    payment.valid_to,
    CASE
        WHEN payment.valid_to <= coalesce(getvariable('as_of'), 'infinity') THEN payment.valid_to
    END AS ended_at,
    is_current(payment.valid_from, payment.valid_to) AS current,
    selects('counterparties', payment.counterparty_id)
    AND selects('currency_ids', payment.currency_id)
    AND selects('counterparty_country_ids', payment.counterparty_id) AS selected
FROM fact_payment AS payment
WHERE payment.valid_from <= coalesce(getvariable('as_of'), 'infinity');

-- The versions of payments whose type has a direction, with signed and converted amounts.
CREATE OR REPLACE TEMP VIEW payment_version_line AS
SELECT
    payment.* REPLACE (way.sign::decimal(1, 0) * payment.amount AS amount),
    way.payment_type_name AS payment_type,
    way.direction,
    CASE WHEN is_reporting(payment.currency_id) THEN 1 ELSE rate.high_part END AS rate_high,
    CASE WHEN is_reporting(payment.currency_id) THEN 0 ELSE rate.low_part END AS rate_low,
    converted(way.sign::decimal(1, 0) * payment.amount, rate_high, rate_high) AS high,
    converted(way.sign::decimal(1, 0) * payment.amount, rate_high, rate_low) AS low,
    high IS NULL AS lacks_rate
FROM payment_version AS payment
JOIN payment_direction AS way ON way.payment_type_id = payment.payment_type_id
LEFT JOIN rate ON rate.day = payment.day AND rate.currency_id = payment.currency_id;

-- Current payments; their department is that of the order.
CREATE OR REPLACE TEMP VIEW converted_payment AS
SELECT
    * REPLACE (
        selected
        AND (
            getvariable('staff_ids') IS NULL OR transaction_id IN (FROM selected_transaction)
        ) AS selected
    )
FROM payment_version_line
WHERE current;

-- Versions of unpaid payments. For a version that has ended, the department is that of the last
-- version of its order.
CREATE OR REPLACE TEMP VIEW debt_version_line AS
SELECT
    * REPLACE (
        selected
        AND (
            getvariable('staff_ids') IS NULL
            OR CASE
                WHEN current THEN transaction_id IN (FROM selected_transaction)
                ELSE transaction_id IN (FROM once_selected_transaction)
            END
        ) AS selected
    )
FROM payment_version_line
WHERE NOT paid;

-- Customers whose first order is in the period, or after it.
CREATE OR REPLACE TEMP VIEW new_customer AS
SELECT counterparty_id
FROM current_order
WHERE kind = 'sales'
GROUP BY counterparty_id
HAVING min(day) >= getvariable('since');

-- Orders and payments with names, for queries by hand and for metrics/definitions.py. `value` is
-- the amount in the reporting currency, rounded; money_sum(true, high, low) adds exact amounts.
CREATE OR REPLACE TEMP VIEW order_line AS
SELECT
    line.*,
    rate_of(line.rate_high, line.rate_low) AS rate,
    round(exact(line.high, line.low), 2) AS value,
    counterparty.name AS counterparty,
    CASE line.kind WHEN 'sales' THEN place.country ELSE counterparty.country END AS country,
    place.country AS delivery_country,
    place.city AS delivery_city,
    staff.name AS staff,
    staff.department,
    design.name AS design,
    currency.currency_code AS currency
FROM converted_order AS line
JOIN counterparty ON counterparty.counterparty_id = line.counterparty_id
JOIN dim_location AS place ON place.location_id = line.location_id
JOIN staff ON staff.staff_id = line.staff_id
JOIN dim_currency AS currency ON currency.currency_id = line.currency_id
LEFT JOIN design ON design.design_id = line.design_id;

CREATE OR REPLACE TEMP VIEW sales_line AS
SELECT * EXCLUDE (kind, item_code) FROM order_line WHERE kind = 'sales';

CREATE OR REPLACE TEMP VIEW purchase_line AS
SELECT * EXCLUDE (kind, design_id, design) FROM order_line WHERE kind = 'purchases';

-- The department of a payment is that of the order's member of staff.
CREATE OR REPLACE TEMP VIEW payment_line AS
SELECT
    line.* EXCLUDE (current, created_time, last_updated, valid_to, ended_at),
    rate_of(line.rate_high, line.rate_low) AS rate,
    round(exact(line.high, line.low), 2) AS value,
    counterparty.name AS counterparty,
    counterparty.country,
    currency.currency_code AS currency,
    reason.sales_order_id,
    reason.purchase_order_id,
    staff.name AS staff,
    staff.department
FROM converted_payment AS line
JOIN counterparty ON counterparty.counterparty_id = line.counterparty_id
JOIN dim_currency AS currency ON currency.currency_id = line.currency_id
JOIN dim_transaction AS reason ON reason.transaction_id = line.transaction_id
LEFT JOIN fact_sales_order AS sale
    ON sale.sales_order_id = reason.sales_order_id AND is_current(sale.valid_from, sale.valid_to)
LEFT JOIN fact_purchase_order AS purchase
    ON purchase.purchase_order_id = reason.purchase_order_id
        AND is_current(purchase.valid_from, purchase.valid_to)
LEFT JOIN staff ON staff.staff_id = coalesce(sale.sales_staff_id, purchase.staff_id);

-- The days, weeks, months or years of the period.
CREATE OR REPLACE TEMP VIEW calendar AS
SELECT
    unnest(generate_series(
        date_trunc(getvariable('grain'), getvariable('since')),
        getvariable('until')::timestamp,
        ('1 ' || getvariable('grain'))::interval
    ))::date AS start;

-- Whether a change that was captured at a moment is in the period.
CREATE OR REPLACE TEMP MACRO is_captured(moment) AS
moment >= getvariable('since')::timestamptz
AND moment >= coalesce(getvariable('captured_from'), '-infinity'::timestamptz)
AND moment < (getvariable('until') + 1)::timestamptz
AND moment > coalesce(getvariable('captured_after'), '-infinity'::timestamptz)
AND moment <= coalesce(getvariable('as_of'), 'infinity'::timestamptz);

-- All versions of orders and payments with common columns. `due` is the day of a payment, or the
-- day that an order is to be paid. The staff of a payment is that of its order.
CREATE OR REPLACE TEMP VIEW record_version AS
SELECT
    CASE kind WHEN 'sales' THEN 'sales_order' ELSE 'purchase_order' END AS kind,
    order_id AS key,
    day,
    day AS created_date,
    created_time,
    last_updated,
    counterparty_id,
    currency_id,
    amount,
    agreed_payment_date AS due,
    units,
    unit_price,
    staff_id,
    design_id,
    item_code,
    agreed_delivery_date,
    location_id,
    NULL::boolean AS paid,
    NULL::integer AS payment_type_id,
    NULL::bigint AS transaction_id,
    valid_from,
    valid_to,
    selected
FROM order_version
UNION ALL
SELECT
    'payment' AS kind,
    payment_id AS key,
    day,
    created_date,
    created_time,
    last_updated,
    counterparty_id,
    currency_id,
    amount,
    day AS due,
    NULL::integer AS units,
    NULL::decimal(18, 2) AS unit_price,
    NULL::integer AS staff_id,
    NULL::integer AS design_id,
    NULL::varchar AS item_code,
    NULL::date AS agreed_delivery_date,
    NULL::integer AS location_id,
    paid,
    payment_type_id,
    transaction_id,
    valid_from,
    valid_to,
    selected
    AND (getvariable('staff_ids') IS NULL OR transaction_id IN (FROM selected_transaction))
        AS selected
FROM payment_version;

-- A value before and after a change; NULL if it is the same.
CREATE OR REPLACE TEMP MACRO change_of(name, old, new) AS
CASE
    WHEN old IS DISTINCT FROM new
        THEN { 'column_name': name, 'before': old::varchar, 'after': new::varchar }
END;

-- Whether the amount of a record depends on a column; 'row' is a deletion.
CREATE OR REPLACE TEMP MACRO affects_amount(column_name) AS
column_name IN (
    'row', 'units_sold', 'unit_price', 'item_quantity', 'item_unit_price', 'payment_amount',
    'currency'
);

-- Changes of orders and payments in the period, and deletions. A change is silent if last_updated
-- is the same in both versions. `changes` are the values that differ; those that the amount depends
-- on are first. exact(high, low) is the change of the amount in the reporting currency: NULL if the
-- amount is the same, or lacks a rate before or after the change. The filter selects one of the
-- versions.
CREATE OR REPLACE TEMP VIEW change AS
WITH change AS (
    SELECT
        old.kind,
        old.key,
        old.valid_to AS captured_at,
        new.key IS NULL AS deleted,
        coalesce(new.last_updated = old.last_updated, false) AS silent,
        coalesce(new.counterparty_id, old.counterparty_id) AS counterparty_id,
        coalesce(new.staff_id, old.staff_id) AS staff_id,
        coalesce(new.transaction_id, old.transaction_id) AS transaction_id,
        old.day AS day_before,
        old.currency_id AS currency_before,
        old.amount AS amount_before,
        new.day AS day_after,
        new.currency_id AS currency_after,
        new.amount AS amount_after,
        (new.key IS NULL OR old.amount <> new.amount OR old.currency_id <> new.currency_id)
        AND affects_amount(coalesce(getvariable('changed_column'), 'row')) AS affects_amount,
        list_filter(
            CASE
                WHEN new.key IS NULL THEN [change_of('row', 'exists', 'deleted')]
                ELSE [
                        change_of(
                            if(old.kind = 'sales_order', 'units_sold', 'item_quantity'),
                            old.units,
                            new.units
                        ),
                        change_of(
                            if(old.kind = 'sales_order', 'unit_price', 'item_unit_price'),
                            old.unit_price,
                            new.unit_price
                        ),
                        change_of(
                            'payment_amount',
                            CASE old.kind WHEN 'payment' THEN old.amount END,
                            CASE old.kind WHEN 'payment' THEN new.amount END
                        ),
                        change_of('currency', old.currency_id, new.currency_id),
                        change_of('paid', old.paid, new.paid),
                        change_of('payment_type', old.payment_type_id, new.payment_type_id),
                        change_of('counterparty', old.counterparty_id, new.counterparty_id),
                        change_of('staff', old.staff_id, new.staff_id),
                        change_of('design', old.design_id, new.design_id),
                        change_of('item_code', old.item_code, new.item_code),
                        change_of(
                            'agreed_delivery_date',
                            old.agreed_delivery_date,
                            new.agreed_delivery_date
                        ),
                        change_of('delivery_to', old.location_id, new.location_id),
                        change_of(
                            if(old.kind = 'payment', 'payment_date', 'agreed_payment_date'),
                            old.due,
                            new.due
                        ),
                        change_of('transaction_id', old.transaction_id, new.transaction_id),
                        change_of('created_date', old.created_date, new.created_date),
                        change_of('created_time', old.created_time, new.created_time),
                        change_of('last_updated', old.last_updated, new.last_updated)
                    ]
            END,
            LAMBDA one: one IS NOT NULL
        ) AS changes
    FROM record_version AS old
    LEFT JOIN record_version AS new
        ON new.kind = old.kind AND new.key = old.key AND new.valid_from = old.valid_to
    WHERE is_captured(old.valid_to) AND (old.selected OR new.selected)
)

SELECT
    change.* EXCLUDE (
        day_before, currency_before, amount_before, day_after, currency_after, amount_after
    ),
    CASE WHEN is_reporting(change.currency_before) THEN 1 ELSE before.high_part END AS high_before,
    CASE WHEN is_reporting(change.currency_before) THEN 0 ELSE before.low_part END AS low_before,
    CASE WHEN is_reporting(change.currency_after) THEN 1 ELSE after.high_part END AS high_after,
    CASE WHEN is_reporting(change.currency_after) THEN 0 ELSE after.low_part END AS low_after,
    CASE
        WHEN change.affects_amount
            THEN CASE
                    WHEN change.deleted THEN 0
                    ELSE converted(change.amount_after, high_after, high_after)
                END - converted(change.amount_before, high_before, high_before)
    END AS high,
    CASE
        WHEN change.affects_amount
            THEN CASE
                    WHEN change.deleted THEN 0
                    ELSE converted(change.amount_after, high_after, low_after)
                END - converted(change.amount_before, high_before, low_before)
    END AS low,
    change.affects_amount AND high IS NULL AS lacks_rate
FROM change
LEFT JOIN rate AS before
    ON before.day = CASE WHEN change.affects_amount THEN change.day_before END
        AND before.currency_id = change.currency_before
LEFT JOIN rate AS after
    ON after.day = CASE WHEN change.affects_amount THEN change.day_after END
        AND after.currency_id = change.currency_after
WHERE (getvariable('record_kind') IS NULL OR kind = getvariable('record_kind'))
    AND (getvariable('record_key') IS NULL OR key = getvariable('record_key'))
    AND (silent OR NOT coalesce(getvariable('only_silent'), false))
    AND (
        getvariable('changed_column') IS NULL
        OR list_contains(
            list_transform(changes, LAMBDA one: one['column_name']), getvariable('changed_column')
        )
    );

-- What is shown for changed values that are keys of dimensions, and for booleans.
CREATE OR REPLACE TEMP VIEW named AS
SELECT 'staff' AS column_name, staff_id::varchar AS id, name FROM staff
UNION ALL
SELECT 'counterparty' AS column_name, counterparty_id::varchar AS id, name FROM counterparty
UNION ALL
SELECT 'design' AS column_name, design_id::varchar AS id, name FROM design
UNION ALL
SELECT 'currency' AS column_name, currency_id::varchar AS id, currency_code AS name
FROM dim_currency
UNION ALL
SELECT
    'delivery_to' AS column_name,
    location_id::varchar AS id,
    address_line_1 || ', ' || city || ', ' || country AS name
FROM dim_location
UNION ALL
SELECT
    'payment_type' AS column_name,
    payment_type_id::varchar AS id,
    payment_type_name AS name
FROM dim_payment_type
UNION ALL
VALUES ('paid', 'true', 'yes'), ('paid', 'false', 'no');
