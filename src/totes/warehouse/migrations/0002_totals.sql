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

GRANT SELECT ON ALL TABLES IN SCHEMA totes TO totes_reader;
