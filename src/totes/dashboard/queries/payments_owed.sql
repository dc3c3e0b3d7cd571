-- Who owes us, and whom we owe, the biggest debts first. NULL where there are debts and none can be
-- converted.
WITH by_kind AS (
    SELECT
        counterparty_id,
        payment_type_id,
        day < %(today)s AS overdue,
        sum(converted) AS value,
        sum(payments) FILTER (WHERE lacks_rate) AS unconverted
    FROM {converted} AS line
    WHERE NOT paid
    GROUP BY 1, 2, 3
),

debts AS (
    SELECT
        by_kind.counterparty_id,
        kind.direction,
        by_kind.overdue,
        kind.sign * by_kind.value AS value,
        by_kind.unconverted
    FROM by_kind
    JOIN {kinds} AS kind ON kind.payment_type_id = by_kind.payment_type_id
),

summed AS (
    SELECT
        counterparty_id,
        count(*) FILTER (WHERE direction = 'in') AS receivables,
        sum(value) FILTER (WHERE direction = 'in') AS receivable,
        count(*) FILTER (WHERE direction = 'in' AND overdue) AS overdue_receivables,
        sum(value) FILTER (WHERE direction = 'in' AND overdue) AS overdue_receivable,
        count(*) FILTER (WHERE direction = 'out') AS payables,
        sum(value) FILTER (WHERE direction = 'out') AS payable,
        count(*) FILTER (WHERE direction = 'out' AND overdue) AS overdue_payables,
        sum(value) FILTER (WHERE direction = 'out' AND overdue) AS overdue_payable,
        sum(unconverted) AS unconverted
    FROM debts
    GROUP BY 1
)

SELECT
    summed.counterparty_id,
    {counterparty_name} AS counterparty,
    CASE WHEN receivables = 0 THEN 0.00 ELSE round(receivable, 2) END AS receivable,
    CASE WHEN overdue_receivables = 0 THEN 0.00 ELSE round(overdue_receivable, 2) END
        AS overdue_receivable,
    CASE WHEN payables = 0 THEN 0.00 ELSE round(payable, 2) END AS payable,
    CASE WHEN overdue_payables = 0 THEN 0.00 ELSE round(overdue_payable, 2) END AS overdue_payable,
    coalesce(summed.unconverted, 0)::bigint AS unconverted
FROM summed
JOIN dim_counterparty AS counterparty ON counterparty.counterparty_id = summed.counterparty_id
ORDER BY
    greatest(coalesce(summed.receivable, 0), coalesce(summed.payable, 0)) DESC,
    summed.counterparty_id
