-- Totals of payments tell those apart that are due on the day they were made: no run pays them, so
-- what is never paid is in the totals, too, and no index of the facts is needed for it. Payments of a
-- department and a country or counterparty together have totals of their own, paid or not. All lie in
-- the order in which they are asked for: whose they are, open or paid, then the day.

DROP TABLE
    totes.daily_payments,
    totes.daily_payments_by_counterparty,
    totes.daily_payments_by_staff,
    totes.daily_open_payments;
DROP INDEX fact_payment_late;

-- Of the open ones that began since a moment, and of the versions that ended since, few are asked for.
DROP INDEX fact_payment_begun, fact_payment_ended;
CREATE INDEX fact_payment_begun ON fact_payment (valid_from, valid_to)
WHERE NOT paid;
CREATE INDEX fact_payment_ended ON fact_payment (valid_to, valid_from)
WHERE valid_to IS NOT NULL;

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

-- The totals of what is there already.
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

-- Questions that are narrower than the totals find all they need in the index.
DROP INDEX fact_sales_order_created, fact_purchase_order_created;
CREATE INDEX fact_sales_order_created ON fact_sales_order
(created_date, sales_staff_id, agreed_delivery_location_id, counterparty_id)
INCLUDE (currency_id, design_id, units_sold, unit_price)
WHERE valid_to IS NULL;
CREATE INDEX fact_purchase_order_created ON fact_purchase_order
(created_date, staff_id, counterparty_id)
INCLUDE (currency_id, item_quantity, item_unit_price)
WHERE valid_to IS NULL;

-- For what is to be delivered next.
CREATE INDEX fact_purchase_order_delivered ON fact_purchase_order (agreed_delivery_date)
WHERE valid_to IS NULL;

ANALYZE
    totes.daily_payments,
    totes.daily_payments_by_counterparty,
    totes.daily_payments_by_staff,
    totes.daily_payments_by_staff_by_counterparty;

GRANT SELECT ON ALL TABLES IN SCHEMA totes TO totes_reader;
