-- Changed values, the newest first: a row for each column of a change, and for a deletion. The
-- first row of a change has its value_change. Names are looked up only for the rows shown.
WITH changed_value AS (
    SELECT *, unnest(changes) AS value, generate_subscripts(changes, 1) AS place FROM change
),

-- last_updated is shown if nothing else changed.
shown AS (
    SELECT * EXCLUDE (value), unnest(value)
    FROM changed_value
    WHERE CASE
            WHEN getvariable('changed_column') IS NOT NULL
                THEN value.column_name = getvariable('changed_column')
            ELSE value.column_name <> 'last_updated' OR len(changes) = 1
        END
    ORDER BY captured_at DESC, kind, key, place
    LIMIT getvariable('row_limit')
),

-- The staff of a payment are those of the last version of the order.
reason AS (
    SELECT transaction_id, sales_order_id, purchase_order_id
    FROM dim_transaction
    WHERE transaction_id IN (SELECT transaction_id FROM shown)
),

payment_staff AS (
    SELECT reason.transaction_id, arg_max(sale.sales_staff_id, sale.valid_from) AS staff_id
    FROM reason
    JOIN fact_sales_order AS sale ON sale.sales_order_id = reason.sales_order_id
    GROUP BY reason.transaction_id
    UNION ALL
    SELECT reason.transaction_id, arg_max(purchase.staff_id, purchase.valid_from) AS staff_id
    FROM reason
    JOIN fact_purchase_order AS purchase
        ON purchase.purchase_order_id = reason.purchase_order_id
            AND reason.sales_order_id IS NULL
    GROUP BY reason.transaction_id
)

SELECT
    shown.captured_at,
    shown.kind,
    shown.key,
    shown.column_name,
    coalesce(named_before.name, shown.before) AS before,
    coalesce(named_after.name, shown.after) AS after,
    shown.silent,
    CASE
        WHEN shown.affects_amount AND (shown.place = 1 OR getvariable('changed_column') IS NOT NULL)
            THEN round(exact(shown.high, shown.low), 2)
    END AS value_change,
    counterparty.counterparty_id,
    counterparty.name AS counterparty,
    staff.staff_id,
    staff.name AS staff
FROM shown
LEFT JOIN named AS named_before
    ON named_before.column_name = shown.column_name AND named_before.id = shown.before
LEFT JOIN named AS named_after
    ON named_after.column_name = shown.column_name AND named_after.id = shown.after
LEFT JOIN counterparty ON counterparty.counterparty_id = shown.counterparty_id
LEFT JOIN payment_staff ON payment_staff.transaction_id = shown.transaction_id
LEFT JOIN staff ON staff.staff_id = coalesce(shown.staff_id, payment_staff.staff_id)
ORDER BY shown.captured_at DESC, shown.kind, shown.key, shown.place;
