-- What a department's orders led to: payments know their member of staff only through transaction
-- and order, which may change while the payment does not. The load keeps these totals, too, and finds
-- by the indexes which payments an order touches.

CREATE TABLE totes.daily_payments_by_staff (
    staff_id integer NOT NULL,
    paid boolean NOT NULL,
    day date NOT NULL,
    currency_id integer NOT NULL,
    payment_type_id integer NOT NULL,
    payments bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (staff_id, paid, day, currency_id, payment_type_id)
);
COMMENT ON TABLE totes.daily_payments_by_staff IS
    'Current payments of each member of staff, paid or not, day, currency and kind: always the '
    'sums of the facts, without payments whose order is not there.';
COMMENT ON COLUMN totes.daily_payments_by_staff.day IS 'Day the payments are due.';
COMMENT ON COLUMN totes.daily_payments_by_staff.currency_id IS 'Currency of the payments.';
COMMENT ON COLUMN totes.daily_payments_by_staff.payment_type_id IS 'Receipt, payment or refund.';
COMMENT ON COLUMN totes.daily_payments_by_staff.paid IS 'Whether they have been paid.';
COMMENT ON COLUMN totes.daily_payments_by_staff.staff_id IS
    'Who made the orders that the payments are for.';
COMMENT ON COLUMN totes.daily_payments_by_staff.payments IS 'How many payments.';
COMMENT ON COLUMN totes.daily_payments_by_staff.value IS
    'Sum of payment_amount, in the currency of the payments.';

CREATE TABLE totes.daily_open_payments (
    staff_id integer NOT NULL,
    counterparty_id integer NOT NULL,
    day date NOT NULL,
    currency_id integer NOT NULL,
    payment_type_id integer NOT NULL,
    payments bigint NOT NULL,
    value numeric NOT NULL,
    PRIMARY KEY (staff_id, counterparty_id, day, currency_id, payment_type_id)
);
COMMENT ON TABLE totes.daily_open_payments IS
    'Current unpaid payments of each member of staff, counterparty, day, currency and kind: always '
    'the sums of the facts, without payments whose order is not there.';
COMMENT ON COLUMN totes.daily_open_payments.staff_id IS
    'Who made the orders that the payments are for.';
COMMENT ON COLUMN totes.daily_open_payments.counterparty_id IS 'Who is to pay or to be paid.';
COMMENT ON COLUMN totes.daily_open_payments.day IS 'Day the payments are due.';
COMMENT ON COLUMN totes.daily_open_payments.currency_id IS 'Currency of the payments.';
COMMENT ON COLUMN totes.daily_open_payments.payment_type_id IS 'Receipt, payment or refund.';
COMMENT ON COLUMN totes.daily_open_payments.payments IS 'How many payments.';
COMMENT ON COLUMN totes.daily_open_payments.value IS
    'Sum of payment_amount, in the currency of the payments.';

CREATE INDEX dim_transaction_sale ON dim_transaction (sales_order_id)
WHERE sales_order_id IS NOT NULL;
CREATE INDEX dim_transaction_purchase ON dim_transaction (purchase_order_id)
WHERE purchase_order_id IS NOT NULL;
CREATE INDEX fact_payment_reason ON fact_payment (transaction_id)
WHERE valid_to IS NULL;

-- The totals of what is there already.
WITH line AS (
    SELECT
        payment.*, coalesce(sale.sales_staff_id, purchase.staff_id) AS staff_id
    FROM current_payment AS payment
    JOIN dim_transaction AS reason ON reason.transaction_id = payment.transaction_id
    LEFT JOIN current_sales_order AS sale ON sale.sales_order_id = reason.sales_order_id
    LEFT JOIN current_purchase_order AS purchase
        ON purchase.purchase_order_id = reason.purchase_order_id
),

filled AS (
    INSERT INTO totes.daily_payments_by_staff
    SELECT
        staff_id, paid, payment_date, currency_id, payment_type_id, count(*), sum(payment_amount)
    FROM line
    WHERE staff_id IS NOT NULL
    GROUP BY 1, 2, 3, 4, 5
    ORDER BY 1, 2, 3, 4, 5
)

INSERT INTO totes.daily_open_payments
SELECT
    staff_id, counterparty_id, payment_date, currency_id, payment_type_id, count(*),
    sum(payment_amount)
FROM line
WHERE NOT paid AND staff_id IS NOT NULL
GROUP BY 1, 2, 3, 4, 5
ORDER BY 1, 2, 3, 4, 5;  -- whose they are lies together

GRANT SELECT ON ALL TABLES IN SCHEMA totes TO totes_reader;
