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

CREATE TABLE totes.daily_payments (
    day date NOT NULL,
    currency_id integer NOT NULL,
    payment_type_id integer NOT NULL,
    paid boolean NOT NULL,
    payments bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (day, currency_id, payment_type_id, paid)
);
COMMENT ON TABLE totes.daily_payments IS
    'Current payments of each day, currency and kind, paid or not: always the sums of the facts.';
COMMENT ON COLUMN totes.daily_payments.day IS 'Day the payments are due.';
COMMENT ON COLUMN totes.daily_payments.currency_id IS 'Currency of the payments.';
COMMENT ON COLUMN totes.daily_payments.payment_type_id IS 'Receipt, payment or refund.';
COMMENT ON COLUMN totes.daily_payments.paid IS 'Whether they have been paid.';
COMMENT ON COLUMN totes.daily_payments.payments IS 'How many payments.';
COMMENT ON COLUMN totes.daily_payments.value IS
    'Sum of payment_amount, in the currency of the payments.';

CREATE TABLE totes.daily_payments_by_counterparty (
    day date NOT NULL,
    currency_id integer NOT NULL,
    payment_type_id integer NOT NULL,
    paid boolean NOT NULL,
    counterparty_id integer NOT NULL,
    payments bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (day, currency_id, payment_type_id, paid, counterparty_id)
);
COMMENT ON TABLE totes.daily_payments_by_counterparty IS
    'Current payments of each day, currency, kind and counterparty, paid or not: always the sums '
    'of the facts.';
COMMENT ON COLUMN totes.daily_payments_by_counterparty.day IS 'Day the payments are due.';
COMMENT ON COLUMN totes.daily_payments_by_counterparty.currency_id IS 'Currency of the payments.';
COMMENT ON COLUMN totes.daily_payments_by_counterparty.payment_type_id IS
    'Receipt, payment or refund.';
COMMENT ON COLUMN totes.daily_payments_by_counterparty.paid IS 'Whether they have been paid.';
COMMENT ON COLUMN totes.daily_payments_by_counterparty.counterparty_id IS 'Who pays or is paid.';
COMMENT ON COLUMN totes.daily_payments_by_counterparty.payments IS 'How many payments.';
COMMENT ON COLUMN totes.daily_payments_by_counterparty.value IS
    'Sum of payment_amount, in the currency of the payments.';

-- For questions that are narrower than these totals. The day comes first, as rows are in its order:
-- that is half the work to build; PostgreSQL 18 finds what is asked for on each day all the same.
CREATE INDEX fact_sales_order_created ON fact_sales_order
(created_date, sales_staff_id, agreed_delivery_location_id, counterparty_id)
WHERE valid_to IS NULL;
CREATE INDEX fact_purchase_order_created ON fact_purchase_order
(created_date, staff_id, counterparty_id)
WHERE valid_to IS NULL;
CREATE INDEX fact_payment_due ON fact_payment
USING brin (payment_date date_minmax_multi_ops) WITH (pages_per_range = 32, autosummarize = on)
WHERE valid_to IS NULL;
CREATE INDEX fact_payment_open ON fact_payment (payment_date)
WHERE valid_to IS NULL AND NOT paid;
CREATE INDEX fact_payment_late ON fact_payment (payment_date)
WHERE valid_to IS NULL AND NOT paid AND payment_date <> created_date
    AND extract(ISODOW FROM payment_date) <= 5;
CREATE INDEX fact_payment_begun ON fact_payment
USING brin (valid_from timestamptz_minmax_multi_ops) WITH (pages_per_range = 32, autosummarize = on);

-- For the rates of a few currencies, of many days.
CREATE INDEX fact_exchange_rate_currency ON fact_exchange_rate (currency_code, rate_date)
WHERE valid_to IS NULL;

-- For what changed last.
CREATE INDEX fact_sales_order_ended ON fact_sales_order (valid_to)
WHERE valid_to IS NOT NULL;
CREATE INDEX fact_purchase_order_ended ON fact_purchase_order (valid_to)
WHERE valid_to IS NOT NULL;
CREATE INDEX fact_payment_ended ON fact_payment (valid_to)
WHERE valid_to IS NOT NULL;

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

INSERT INTO totes.daily_payments
SELECT payment_date, currency_id, payment_type_id, paid, count(*), sum(payment_amount)
FROM current_payment
GROUP BY 1, 2, 3, 4;

INSERT INTO totes.daily_payments_by_counterparty
SELECT
    payment_date, currency_id, payment_type_id, paid, counterparty_id, count(*),
    sum(payment_amount)
FROM current_payment
GROUP BY 1, 2, 3, 4, 5;

-- They only read: questions about the past may use all processors.
ALTER FUNCTION sales_order_as_of(timestamptz) PARALLEL SAFE;
ALTER FUNCTION purchase_order_as_of(timestamptz) PARALLEL SAFE;
ALTER FUNCTION payment_as_of(timestamptz) PARALLEL SAFE;

-- When the warehouse was last proven equal to its source.
CREATE TABLE totes.verifications (
    batch bigint NOT NULL,
    verified_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    equal boolean NOT NULL
);
CREATE UNIQUE INDEX verifications_one ON totes.verifications ((true));
COMMENT ON TABLE totes.verifications IS 'One row at most: what the last verify found.';
COMMENT ON COLUMN totes.verifications.batch IS 'The batch that was compared.';
COMMENT ON COLUMN totes.verifications.verified_at IS 'When, by the warehouse''s clock.';
COMMENT ON COLUMN totes.verifications.equal IS 'Whether source and warehouse were equal.';

GRANT SELECT ON ALL TABLES IN SCHEMA totes TO totes_reader;
