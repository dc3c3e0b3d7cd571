-- The calendar: whole years, those of the dates in use, one before and after, and the years the
-- warehouse has besides (of rows that were changed or deleted since). Rows with a quarantined
-- version use none.
WITH written AS (
    SELECT left(day, 10) AS day
    FROM sales_order, LATERAL (
            VALUES
            (created_at::text), (last_updated::text),
            (agreed_delivery_date::text), (agreed_payment_date::text)
        ) AS days (day)
    WHERE sales_order_id::text <> ALL(%(apart_from_fact_sales_order)s)
    UNION SELECT left(day, 10)
    FROM purchase_order, LATERAL (
            VALUES
            (created_at::text), (last_updated::text),
            (agreed_delivery_date::text), (agreed_payment_date::text)
        ) AS days (day)
    WHERE purchase_order_id::text <> ALL(%(apart_from_fact_purchase_order)s)
    UNION SELECT left(day, 10)
    FROM payment, LATERAL (
            VALUES
            (created_at::text), (last_updated::text), (payment_date::text)
        ) AS days (day)
    WHERE payment_id::text <> ALL(%(apart_from_fact_payment)s)
),

used AS MATERIALIZED (
    SELECT left(day, 4)::int AS year, substr(day, 6, 2)::int AS month, substr(day, 9)::int AS day
    FROM written
    WHERE day ~ '^(19[0-9][0-9]|2[01][0-9][0-9]|2200)-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$'
),

years AS (
    SELECT year + near AS year FROM used, generate_series(-1, 1) AS near
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
