-- The expected rows of dim_date: whole years. These are the years of all dates in the source, one
-- year before and after each, and the years in the warehouse (dates that were changed or deleted
-- since remain in the calendar). Rows with a version in quarantine are ignored.
-- DISTINCT and MATERIALIZED: texts are made and checked once for each date, not for each row.
WITH sales AS NOT MATERIALIZED (
    SELECT * FROM sales_order
    WHERE sales_order_id::text <> ALL(%(quarantined_fact_sales_order)s)
),

purchases AS NOT MATERIALIZED (
    SELECT * FROM purchase_order
    WHERE purchase_order_id::text <> ALL(%(quarantined_fact_purchase_order)s)
),

payments AS NOT MATERIALIZED (
    SELECT * FROM payment
    WHERE payment_id::text <> ALL(%(quarantined_fact_payment)s)
),

days AS (
    SELECT DISTINCT created_at::date AS day FROM sales
    UNION SELECT DISTINCT last_updated::date FROM sales
    UNION SELECT DISTINCT created_at::date FROM purchases
    UNION SELECT DISTINCT last_updated::date FROM purchases
    UNION SELECT DISTINCT created_at::date FROM payments
    UNION SELECT DISTINCT last_updated::date FROM payments
),

texts AS (
    SELECT DISTINCT agreed_delivery_date::text AS day FROM sales
    UNION SELECT DISTINCT agreed_payment_date::text FROM sales
    UNION SELECT DISTINCT agreed_delivery_date::text FROM purchases
    UNION SELECT DISTINCT agreed_payment_date::text FROM purchases
    UNION SELECT DISTINCT payment_date::text FROM payments
),

date_texts AS MATERIALIZED (
    SELECT day::text FROM days
    UNION SELECT left(day, 10) FROM texts
),

dates AS MATERIALIZED (
    SELECT left(day, 4)::int AS year, substr(day, 6, 2)::int AS month, substr(day, 9)::int AS day
    FROM date_texts
    WHERE day ~ '^(19[0-9][0-9]|2[01][0-9][0-9]|2200)-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
),

years AS (
    SELECT year + neighbour AS year FROM dates, generate_series(-1, 1) AS neighbour
    WHERE day <= extract(day FROM make_date(year, month, 1) + interval '1 month - 1 day')
    UNION SELECT unnest(%(years)s::int[])
)

SELECT
    day::date,
    extract(year FROM day)::int, extract(month FROM day)::int, extract(day FROM day)::int,
    extract(isodow FROM day)::int,
    to_char(day, 'FMDay'), to_char(day, 'FMMonth'),
    extract(quarter FROM day)::int
FROM years,
    generate_series(make_date(year, 1, 1)::timestamp, make_date(year, 12, 31), '1 day') AS day
WHERE year BETWEEN 1900 AND 2200
