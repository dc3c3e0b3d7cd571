-- Insert {orders} sales and {purchases} purchase orders with their transactions and payments.
-- A deal is an order with its transaction and payment. Each value of deal n is a hash of n and
-- {seed}, so the same seed gives the same rows. Constraints are dropped and added again: one check
-- of a whole table is many times faster than one of each row.

CREATE TEMPORARY TABLE dropped_constraint ON COMMIT DROP AS
SELECT
    conrelid::regclass AS of_table, conname AS name, contype AS kind,
    pg_get_constraintdef(oid) AS definition
FROM pg_constraint
WHERE contype IN ('p', 'u', 'f')
    AND conrelid IN (
        'sales_order'::regclass, 'purchase_order'::regclass, 'transaction'::regclass,
        'payment'::regclass
    );

DO $$
DECLARE
    dropped record;
BEGIN
    FOR dropped IN SELECT * FROM dropped_constraint ORDER BY kind = 'f' DESC LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', dropped.of_table, dropped.name);
    END LOOP;
END
$$;

-- A number from 0 to `below` - 1, determined by row, field and seed.
CREATE FUNCTION pg_temp.draw(row_number bigint, field integer, below bigint) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (hashint8extended(row_number, {seed} * 100 + field) & 9223372036854775807) % below;

-- One row for each deal, in order of time, at equal intervals from 08:00 to 18:59 of {weekdays}
-- weekdays. The last of them is {weekdays_after} weekdays before {friday}.
-- Purchases are distributed evenly among sales. The ids of both have no gaps.
CREATE TEMPORARY TABLE deal ON COMMIT DROP AS
SELECT
    n,
    purchases > purchases_before AS is_purchase,
    CASE WHEN purchases > purchases_before THEN purchases ELSE n - purchases END AS order_id,
    created_at,
    created_at::date AS created_on,
    pg_temp.draw(n, 1, {staff}) + 1 AS staff_id,
    pg_temp.draw(n, 2, {counterparties}) + 1 AS counterparty_id,
    pg_temp.draw(n, 3, 3) + 1 AS currency_id,
    created_at::date + pg_temp.draw(n, 4, 7) AS delivery_on,
    created_at::date + pg_temp.draw(n, 5, 7) AS payment_on,
    pg_temp.draw(n, 6, {addresses}) + 1 AS address_id,
    CASE WHEN purchases > purchases_before
            THEN pg_temp.draw(n, 7, 999) + 1
        ELSE pg_temp.draw(n, 7, 98973) + 1001
    END AS quantity,
    CASE WHEN purchases > purchases_before
            THEN pg_temp.draw(n, 8, 99701) + 300
        ELSE pg_temp.draw(n, 8, 201) + 200
    END / 100.0 AS price
FROM (
    SELECT
        n,
        n * {purchases} / {deals} AS purchases,
        (n - 1) * {purchases} / {deals} AS purchases_before,
        (
            {friday}::timestamp - (weekdays_before / 5 * 7 + weekdays_before % 5) * interval '1 day'
            + interval '8 hours' + open_ms % 39600000 * interval '1 millisecond'
        )::timestamp(3) AS created_at
    FROM (
        SELECT
            n, open_ms,
            {weekdays_after} + {weekdays} - 1 - open_ms / 39600000 AS weekdays_before
        FROM (
            -- milliseconds of office hours before the deal: 11 hours on a weekday
            SELECT n, (n - 1) * {weekdays} * 39600000 / {deals} AS open_ms
            FROM generate_series(1::bigint, {deals}) AS n
        ) AS paced
    ) AS placed
) AS timed;

INSERT INTO sales_order
SELECT
    order_id, created_at, created_at, pg_temp.draw(n, 9, {designs}) + 1, staff_id,
    counterparty_id, quantity, price, currency_id, delivery_on::text, payment_on::text,
    address_id
FROM deal
WHERE NOT is_purchase
ORDER BY n;

INSERT INTO purchase_order
SELECT
    order_id, created_at, created_at, staff_id, counterparty_id,
    -- one code in a hundred has only digits
    CASE WHEN pg_temp.draw(n, 10, 100) = 0 THEN lpad(pg_temp.draw(n, 11, 10000000)::text, 7, '0')
        ELSE upper(substr(to_hex(hashint8extended(n, {seed})), 1, 6)) || 'X'
    END,
    quantity, price, currency_id, delivery_on::text, payment_on::text, address_id
FROM deal
WHERE is_purchase
ORDER BY n;

-- The type of transaction is an enum in the live totesys, and text in others.
DO $$
BEGIN
    EXECUTE format(
        $insert$
        INSERT INTO "transaction"
        SELECT n, CASE WHEN is_purchase THEN 'PURCHASE' ELSE 'SALE' END::%s,
               CASE WHEN NOT is_purchase THEN order_id END, CASE WHEN is_purchase THEN order_id END,
               created_at, created_at
        FROM deal
        ORDER BY n
        $insert$,
        (SELECT atttypid::regtype FROM pg_attribute
         WHERE attrelid = '"transaction"'::regclass AND attname = 'transaction_type')
    );
END
$$;

-- A payment is paid if it was due on a weekday after the day of its deal, and not after the last
-- deal: at 07:55:11, all payments of a day at the same millisecond.
INSERT INTO payment
SELECT
    n, created_at,
    CASE WHEN is_paid
            THEN payment_on
                + time '07:55:11'
                + pg_temp.draw(payment_on - date '2000-01-01', 12, 1000)
                * interval '1 millisecond'
        ELSE created_at
    END,
    n, counterparty_id, quantity * price, currency_id,
    CASE WHEN is_purchase THEN 3 ELSE 1 END, is_paid, payment_on::text,
    10000000 + pg_temp.draw(n, 13, 90000000), 10000000 + pg_temp.draw(n, 14, 90000000)
FROM (
    SELECT
        *,
        payment_on > created_on AND extract(isodow FROM payment_on) < 6
        AND payment_on <= (SELECT max(created_on) FROM deal) AS is_paid
    FROM deal
) AS due
ORDER BY n;

SELECT
    setval('sales_order_sales_order_id_seq', {orders} + 1, false),
    setval('purchase_order_purchase_order_id_seq', {purchases} + 1, false),
    setval('transaction_transaction_id_seq', {deals} + 1, false),
    setval('payment_payment_id_seq', {deals} + 1, false);

DO $$
DECLARE
    dropped record;
BEGIN
    FOR dropped IN SELECT * FROM dropped_constraint ORDER BY kind = 'f', of_table, name LOOP
        EXECUTE format(
            'ALTER TABLE %s ADD CONSTRAINT %I %s', dropped.of_table, dropped.name, dropped.definition
        );
    END LOOP;
END
$$;
