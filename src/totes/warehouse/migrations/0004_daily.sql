-- What the dashboard asks most, ready to be read: totals of each day, kept equal to the facts.
-- The load changes them in the transaction that changes the facts, by what the current rows of the
-- keys it touches were before and are after.

CREATE TABLE totes.daily_sales (
    day date NOT NULL,
    currency_id integer NOT NULL,
    orders bigint NOT NULL,
    units bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (day, currency_id)
);
COMMENT ON TABLE totes.daily_sales IS
    'Current sales orders of each day, currency: always the sums of the facts.';
COMMENT ON COLUMN totes.daily_sales.day IS 'Day the orders were created.';
COMMENT ON COLUMN totes.daily_sales.currency_id IS 'Currency of the orders.';
COMMENT ON COLUMN totes.daily_sales.orders IS 'How many orders.';
COMMENT ON COLUMN totes.daily_sales.units IS 'Sum of units_sold.';
COMMENT ON COLUMN totes.daily_sales.value IS
    'Sum of units_sold * unit_price, in the currency of the orders.';

CREATE TABLE totes.daily_sales_by_counterparty (
    day date NOT NULL,
    currency_id integer NOT NULL,
    counterparty_id integer NOT NULL,
    orders bigint NOT NULL,
    units bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (day, currency_id, counterparty_id)
);
COMMENT ON TABLE totes.daily_sales_by_counterparty IS
    'Current sales orders of each day, currency and counterparty: always the sums of the facts.';
COMMENT ON COLUMN totes.daily_sales_by_counterparty.day IS 'Day the orders were created.';
COMMENT ON COLUMN totes.daily_sales_by_counterparty.currency_id IS 'Currency of the orders.';
COMMENT ON COLUMN totes.daily_sales_by_counterparty.counterparty_id IS 'The customer.';
COMMENT ON COLUMN totes.daily_sales_by_counterparty.orders IS 'How many orders.';
COMMENT ON COLUMN totes.daily_sales_by_counterparty.units IS 'Sum of units_sold.';
COMMENT ON COLUMN totes.daily_sales_by_counterparty.value IS
    'Sum of units_sold * unit_price, in the currency of the orders.';

CREATE TABLE totes.daily_sales_by_staff (
    day date NOT NULL,
    currency_id integer NOT NULL,
    staff_id integer NOT NULL,
    orders bigint NOT NULL,
    units bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (day, currency_id, staff_id)
);
COMMENT ON TABLE totes.daily_sales_by_staff IS
    'Current sales orders of each day, currency and staff: always the sums of the facts.';
COMMENT ON COLUMN totes.daily_sales_by_staff.day IS 'Day the orders were created.';
COMMENT ON COLUMN totes.daily_sales_by_staff.currency_id IS 'Currency of the orders.';
COMMENT ON COLUMN totes.daily_sales_by_staff.staff_id IS 'Who made the sale.';
COMMENT ON COLUMN totes.daily_sales_by_staff.orders IS 'How many orders.';
COMMENT ON COLUMN totes.daily_sales_by_staff.units IS 'Sum of units_sold.';
COMMENT ON COLUMN totes.daily_sales_by_staff.value IS
    'Sum of units_sold * unit_price, in the currency of the orders.';

CREATE TABLE totes.daily_sales_by_location (
    day date NOT NULL,
    currency_id integer NOT NULL,
    location_id integer NOT NULL,
    orders bigint NOT NULL,
    units bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (day, currency_id, location_id)
);
COMMENT ON TABLE totes.daily_sales_by_location IS
    'Current sales orders of each day, currency and location: always the sums of the facts.';
COMMENT ON COLUMN totes.daily_sales_by_location.day IS 'Day the orders were created.';
COMMENT ON COLUMN totes.daily_sales_by_location.currency_id IS 'Currency of the orders.';
COMMENT ON COLUMN totes.daily_sales_by_location.location_id IS 'Where to deliver.';
COMMENT ON COLUMN totes.daily_sales_by_location.orders IS 'How many orders.';
COMMENT ON COLUMN totes.daily_sales_by_location.units IS 'Sum of units_sold.';
COMMENT ON COLUMN totes.daily_sales_by_location.value IS
    'Sum of units_sold * unit_price, in the currency of the orders.';

CREATE TABLE totes.daily_sales_by_design (
    day date NOT NULL,
    currency_id integer NOT NULL,
    design_id integer NOT NULL,
    orders bigint NOT NULL,
    units bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (day, currency_id, design_id)
);
COMMENT ON TABLE totes.daily_sales_by_design IS
    'Current sales orders of each day, currency and design: always the sums of the facts.';
COMMENT ON COLUMN totes.daily_sales_by_design.day IS 'Day the orders were created.';
COMMENT ON COLUMN totes.daily_sales_by_design.currency_id IS 'Currency of the orders.';
COMMENT ON COLUMN totes.daily_sales_by_design.design_id IS 'What was sold.';
COMMENT ON COLUMN totes.daily_sales_by_design.orders IS 'How many orders.';
COMMENT ON COLUMN totes.daily_sales_by_design.units IS 'Sum of units_sold.';
COMMENT ON COLUMN totes.daily_sales_by_design.value IS
    'Sum of units_sold * unit_price, in the currency of the orders.';

CREATE TABLE totes.daily_purchases (
    day date NOT NULL,
    currency_id integer NOT NULL,
    orders bigint NOT NULL,
    units bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (day, currency_id)
);
COMMENT ON TABLE totes.daily_purchases IS
    'Current purchase orders of each day, currency: always the sums of the facts.';
COMMENT ON COLUMN totes.daily_purchases.day IS 'Day the orders were created.';
COMMENT ON COLUMN totes.daily_purchases.currency_id IS 'Currency of the orders.';
COMMENT ON COLUMN totes.daily_purchases.orders IS 'How many orders.';
COMMENT ON COLUMN totes.daily_purchases.units IS 'Sum of item_quantity.';
COMMENT ON COLUMN totes.daily_purchases.value IS
    'Sum of item_quantity * item_unit_price, in the currency of the orders.';

CREATE TABLE totes.daily_purchases_by_counterparty (
    day date NOT NULL,
    currency_id integer NOT NULL,
    counterparty_id integer NOT NULL,
    orders bigint NOT NULL,
    units bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (day, currency_id, counterparty_id)
);
COMMENT ON TABLE totes.daily_purchases_by_counterparty IS
    'Current purchase orders of each day, currency and counterparty: always the sums of the facts.';
COMMENT ON COLUMN totes.daily_purchases_by_counterparty.day IS 'Day the orders were created.';
COMMENT ON COLUMN totes.daily_purchases_by_counterparty.currency_id IS 'Currency of the orders.';
COMMENT ON COLUMN totes.daily_purchases_by_counterparty.counterparty_id IS 'The supplier.';
COMMENT ON COLUMN totes.daily_purchases_by_counterparty.orders IS 'How many orders.';
COMMENT ON COLUMN totes.daily_purchases_by_counterparty.units IS 'Sum of item_quantity.';
COMMENT ON COLUMN totes.daily_purchases_by_counterparty.value IS
    'Sum of item_quantity * item_unit_price, in the currency of the orders.';

CREATE TABLE totes.daily_purchases_by_staff (
    day date NOT NULL,
    currency_id integer NOT NULL,
    staff_id integer NOT NULL,
    orders bigint NOT NULL,
    units bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (day, currency_id, staff_id)
);
COMMENT ON TABLE totes.daily_purchases_by_staff IS
    'Current purchase orders of each day, currency and staff: always the sums of the facts.';
COMMENT ON COLUMN totes.daily_purchases_by_staff.day IS 'Day the orders were created.';
COMMENT ON COLUMN totes.daily_purchases_by_staff.currency_id IS 'Currency of the orders.';
COMMENT ON COLUMN totes.daily_purchases_by_staff.staff_id IS 'Who made the purchase.';
COMMENT ON COLUMN totes.daily_purchases_by_staff.orders IS 'How many orders.';
COMMENT ON COLUMN totes.daily_purchases_by_staff.units IS 'Sum of item_quantity.';
COMMENT ON COLUMN totes.daily_purchases_by_staff.value IS
    'Sum of item_quantity * item_unit_price, in the currency of the orders.';

-- Totals of payments tell those apart that are due on the day they were made: no run pays them, so
-- what is never paid is in the totals, too. Payments know their member of staff only through
-- transaction and order, which may change while the payment does not. All lie in the order in which
-- they are asked for: whose they are, open or paid, then the day.

CREATE TABLE totes.daily_payments (
    paid boolean NOT NULL,
    day date NOT NULL,
    currency_id integer NOT NULL,
    payment_type_id integer NOT NULL,
    due_at_once boolean NOT NULL,
    payments bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (paid, day, currency_id, payment_type_id, due_at_once)
);
COMMENT ON TABLE totes.daily_payments IS
    'Current payments, paid or not, of each day, currency and kind: always the sums of the facts.';

CREATE TABLE totes.daily_payments_by_counterparty (
    counterparty_id integer NOT NULL,
    paid boolean NOT NULL,
    day date NOT NULL,
    currency_id integer NOT NULL,
    payment_type_id integer NOT NULL,
    due_at_once boolean NOT NULL,
    payments bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (counterparty_id, paid, day, currency_id, payment_type_id, due_at_once)
);
COMMENT ON TABLE totes.daily_payments_by_counterparty IS
    'Current payments of each counterparty, paid or not, day, currency and kind: always the sums of '
    'the facts.';

CREATE TABLE totes.daily_payments_by_staff (
    staff_id integer NOT NULL,
    paid boolean NOT NULL,
    day date NOT NULL,
    currency_id integer NOT NULL,
    payment_type_id integer NOT NULL,
    due_at_once boolean NOT NULL,
    payments bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (staff_id, paid, day, currency_id, payment_type_id, due_at_once)
);
COMMENT ON TABLE totes.daily_payments_by_staff IS
    'Current payments of each member of staff, paid or not, day, currency and kind: always the sums '
    'of the facts, without payments whose order is not there.';

CREATE TABLE totes.daily_payments_by_staff_by_counterparty (
    staff_id integer NOT NULL,
    counterparty_id integer NOT NULL,
    paid boolean NOT NULL,
    day date NOT NULL,
    currency_id integer NOT NULL,
    payment_type_id integer NOT NULL,
    due_at_once boolean NOT NULL,
    payments bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (
        staff_id, counterparty_id, paid, day, currency_id, payment_type_id, due_at_once
    )
);
COMMENT ON TABLE totes.daily_payments_by_staff_by_counterparty IS
    'Current payments of each member of staff, counterparty, paid or not, day, currency and kind: '
    'always the sums of the facts, without payments whose order is not there.';

DO $$
DECLARE
    described record;
BEGIN
    FOR described IN
        SELECT attribute.attrelid::regclass AS daily, told.name, told.comment
        FROM (
            VALUES
            ('staff_id', 'Who made the orders that the payments are for.'),
            ('counterparty_id', 'Who pays or is paid.'),
            ('paid', 'Whether they have been paid.'),
            ('day', 'Day the payments are due.'),
            ('currency_id', 'Currency of the payments.'),
            ('payment_type_id', 'Receipt, payment or refund.'),
            ('due_at_once', 'Whether they are due on the day they were made: no run pays them.'),
            ('payments', 'How many payments.'),
            ('value', 'Sum of payment_amount, in the currency of the payments.')
        ) AS told (name, comment)
        JOIN pg_attribute AS attribute ON attribute.attname = told.name
        WHERE attribute.attrelid IN (
            'totes.daily_payments'::regclass,
            'totes.daily_payments_by_counterparty'::regclass,
            'totes.daily_payments_by_staff'::regclass,
            'totes.daily_payments_by_staff_by_counterparty'::regclass
        )
    LOOP
        EXECUTE format(
            'COMMENT ON COLUMN %s.%I IS %L', described.daily, described.name, described.comment
        );
    END LOOP;
END
$$;

-- Questions that are narrower than these totals find all they need in the index. The day comes first,
-- as rows are in its order: that is half the work to build; PostgreSQL 18 finds what is asked for on
-- each day all the same.
CREATE INDEX fact_sales_order_created ON fact_sales_order
(created_date, sales_staff_id, agreed_delivery_location_id, counterparty_id)
INCLUDE (currency_id, design_id, units_sold, unit_price)
WHERE valid_to IS NULL;
CREATE INDEX fact_purchase_order_created ON fact_purchase_order
(created_date, staff_id, counterparty_id)
INCLUDE (currency_id, item_quantity, item_unit_price)
WHERE valid_to IS NULL;
CREATE INDEX fact_payment_due ON fact_payment
USING brin (payment_date date_minmax_multi_ops) WITH (pages_per_range = 32, autosummarize = on)
WHERE valid_to IS NULL;
CREATE INDEX fact_payment_open ON fact_payment (payment_date)
WHERE valid_to IS NULL AND NOT paid;

-- Of the open ones that began since a moment, and of the versions that ended since, few are asked for.
CREATE INDEX fact_payment_begun ON fact_payment (valid_from, valid_to)
WHERE NOT paid;
CREATE INDEX fact_payment_ended ON fact_payment (valid_to, valid_from)
WHERE valid_to IS NOT NULL;

-- For the rates of a few currencies, of many days.
CREATE INDEX fact_exchange_rate_currency ON fact_exchange_rate (currency_code, rate_date)
WHERE valid_to IS NULL;

-- For what changed last.
CREATE INDEX fact_sales_order_ended ON fact_sales_order (valid_to)
WHERE valid_to IS NOT NULL;
CREATE INDEX fact_purchase_order_ended ON fact_purchase_order (valid_to)
WHERE valid_to IS NOT NULL;

-- For what is to be delivered next.
CREATE INDEX fact_purchase_order_delivered ON fact_purchase_order (agreed_delivery_date)
WHERE valid_to IS NULL;

-- For the payments that an order touches.
CREATE INDEX dim_transaction_sale ON dim_transaction (sales_order_id)
WHERE sales_order_id IS NOT NULL;
CREATE INDEX dim_transaction_purchase ON dim_transaction (purchase_order_id)
WHERE purchase_order_id IS NOT NULL;
CREATE INDEX fact_payment_reason ON fact_payment (transaction_id)
WHERE valid_to IS NULL;

-- The totals of what is there already.
INSERT INTO totes.daily_sales
SELECT
    created_date, currency_id, count(*), sum(units_sold),
    sum(units_sold * unit_price)
FROM current_sales_order
GROUP BY 1, 2;

INSERT INTO totes.daily_sales_by_counterparty
SELECT
    created_date, currency_id, counterparty_id, count(*), sum(units_sold),
    sum(units_sold * unit_price)
FROM current_sales_order
GROUP BY 1, 2, 3;

INSERT INTO totes.daily_sales_by_staff
SELECT
    created_date, currency_id, sales_staff_id, count(*), sum(units_sold),
    sum(units_sold * unit_price)
FROM current_sales_order
GROUP BY 1, 2, 3;

INSERT INTO totes.daily_sales_by_location
SELECT
    created_date, currency_id, agreed_delivery_location_id, count(*), sum(units_sold),
    sum(units_sold * unit_price)
FROM current_sales_order
GROUP BY 1, 2, 3;

INSERT INTO totes.daily_sales_by_design
SELECT
    created_date, currency_id, design_id, count(*), sum(units_sold),
    sum(units_sold * unit_price)
FROM current_sales_order
GROUP BY 1, 2, 3;

INSERT INTO totes.daily_purchases
SELECT
    created_date, currency_id, count(*), sum(item_quantity),
    sum(item_quantity * item_unit_price)
FROM current_purchase_order
GROUP BY 1, 2;

INSERT INTO totes.daily_purchases_by_counterparty
SELECT
    created_date, currency_id, counterparty_id, count(*), sum(item_quantity),
    sum(item_quantity * item_unit_price)
FROM current_purchase_order
GROUP BY 1, 2, 3;

INSERT INTO totes.daily_purchases_by_staff
SELECT
    created_date, currency_id, staff_id, count(*), sum(item_quantity),
    sum(item_quantity * item_unit_price)
FROM current_purchase_order
GROUP BY 1, 2, 3;

WITH line AS MATERIALIZED (
    SELECT
        payment.paid,
        payment.payment_date AS day,
        payment.currency_id,
        payment.payment_type_id,
        payment.payment_date = payment.created_date AS due_at_once,
        payment.payment_amount,
        payment.counterparty_id,
        coalesce(sale.sales_staff_id, purchase.staff_id) AS staff_id
    FROM current_payment AS payment
    LEFT JOIN dim_transaction AS reason ON reason.transaction_id = payment.transaction_id
    LEFT JOIN current_sales_order AS sale ON sale.sales_order_id = reason.sales_order_id
    LEFT JOIN current_purchase_order AS purchase
        ON purchase.purchase_order_id = reason.purchase_order_id
),

of_all AS (
    INSERT INTO totes.daily_payments
    SELECT
        paid, day, currency_id, payment_type_id, due_at_once, count(*), sum(payment_amount)
    FROM line
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 2, 3, 4, 5
),

of_counterparties AS (
    INSERT INTO totes.daily_payments_by_counterparty
    SELECT
        counterparty_id, paid, day, currency_id, payment_type_id, due_at_once, count(*),
        sum(payment_amount)
    FROM line
    GROUP BY 1, 2, 3, 4, 5, 6
    ORDER BY 1, 2, 3, 4, 5, 6
),

of_staff AS (
    INSERT INTO totes.daily_payments_by_staff
    SELECT
        staff_id, paid, day, currency_id, payment_type_id, due_at_once, count(*),
        sum(payment_amount)
    FROM line
    WHERE staff_id IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5, 6
    ORDER BY 1, 2, 3, 4, 5, 6
)

INSERT INTO totes.daily_payments_by_staff_by_counterparty
SELECT
    staff_id, counterparty_id, paid, day, currency_id, payment_type_id, due_at_once, count(*),
    sum(payment_amount)
FROM line
WHERE staff_id IS NOT NULL
GROUP BY 1, 2, 3, 4, 5, 6, 7
ORDER BY 1, 2, 3, 4, 5, 6, 7;

ANALYZE
    totes.daily_payments,
    totes.daily_payments_by_counterparty,
    totes.daily_payments_by_staff,
    totes.daily_payments_by_staff_by_counterparty;

-- They only read: questions about the past may use all processors.
ALTER FUNCTION sales_order_as_of(timestamptz) PARALLEL SAFE;
ALTER FUNCTION purchase_order_as_of(timestamptz) PARALLEL SAFE;
ALTER FUNCTION payment_as_of(timestamptz) PARALLEL SAFE;

-- When the warehouse was last proven equal to its source.
CREATE TABLE totes.verifications (
    batch bigint NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    equal boolean NOT NULL,
    one boolean PRIMARY KEY DEFAULT true CHECK (one)
);
COMMENT ON TABLE totes.verifications IS 'One row at most: what the last verify found.';
COMMENT ON COLUMN totes.verifications.batch IS 'The batch that was compared.';
COMMENT ON COLUMN totes.verifications.verified_at IS 'When, by the warehouse''s clock.';
COMMENT ON COLUMN totes.verifications.equal IS 'Whether source and warehouse were equal.';
COMMENT ON COLUMN totes.verifications.one IS 'Always true: the key of the only row.';

GRANT SELECT ON ALL TABLES IN SCHEMA totes TO totes_reader;
