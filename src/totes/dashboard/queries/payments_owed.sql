-- Who owes us, and whom we owe, the biggest debts first. NULL where there are debts and none can be
-- converted.
WITH summed AS (
    SELECT
        counterparty_id,
        count(*) FILTER (WHERE direction = 'in') AS receivables,
        sum(converted) FILTER (WHERE direction = 'in') AS receivable,
        count(*) FILTER (WHERE direction = 'in' AND day < %(today)s) AS overdue_receivables,
        sum(converted) FILTER (WHERE direction = 'in' AND day < %(today)s) AS overdue_receivable,
        count(*) FILTER (WHERE direction = 'out') AS payables,
        sum(converted) FILTER (WHERE direction = 'out') AS payable,
        count(*) FILTER (WHERE direction = 'out' AND day < %(today)s) AS overdue_payables,
        sum(converted) FILTER (WHERE direction = 'out' AND day < %(today)s) AS overdue_payable,
        sum(payments) FILTER (WHERE converted IS NULL) AS unconverted
    FROM {converted} AS line
    WHERE NOT paid
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
