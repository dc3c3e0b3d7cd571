-- {orders} sales and {purchases} purchase orders with their transactions and payments, made by
-- sets. Row n of every set is a function of n and {seed} alone (hashes), so a seed is a history.
-- Keys and foreign keys are taken off and put back: checking them set-wise is many times faster.

CREATE TEMPORARY TABLE set_aside ON COMMIT DROP AS
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
    aside record;
BEGIN
    FOR aside IN SELECT * FROM set_aside ORDER BY kind = 'f' DESC LOOP
        EXECUTE format('ALTER TABLE %s DROP CONSTRAINT %I', aside.of_table, aside.name);
    END LOOP;
END
$$;

-- A number from 0 up to `below`, the same for the same row and column of the same seed.
CREATE FUNCTION pg_temp.draw(row_number bigint, field integer, below bigint) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN (hashint8extended(row_number, {seed} * 100 + field) & 9223372036854775807) % below;

-- One row for each deal, in the order of time: 08:00 to 18:59, Monday to Friday. The purchases
-- are spread evenly among the sales, so that the ids of both are gap-free.
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
        date_trunc(
            'milliseconds',
            {monday}::timestamp + (day / 5 * 7 + day % 5) * interval '1 day'
            + interval '8 hours' + nth * (interval '11 hours' / per_day)
        )::timestamp(3) AS created_at
    FROM (
        SELECT n, (n - 1) / per_day AS day, (n - 1) % per_day AS nth, per_day
        FROM generate_series(1::bigint, {deals}) AS n,
            (SELECT greatest(35, ({deals} + {days} - 1) / {days}) AS per_day) AS pace
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
    -- one code in a hundred is all digits
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

-- Due on a weekday after the day of the deal, and that day has come: paid at 07:55:11, all of a
-- day in one millisecond.
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
    aside record;
BEGIN
    FOR aside IN SELECT * FROM set_aside ORDER BY kind = 'f', of_table, name LOOP
        EXECUTE format(
            'ALTER TABLE %s ADD CONSTRAINT %I %s', aside.of_table, aside.name, aside.definition
        );
    END LOOP;
END
$$;
