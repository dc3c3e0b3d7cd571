-- Who owes us, and whom we owe, the biggest debts first.
WITH summed AS (
    SELECT
        counterparty_id,
        sum(converted) FILTER (WHERE direction = 'in') AS receivable,
        sum(converted) FILTER (WHERE direction = 'in' AND day < %(today)s) AS overdue_receivable,
        sum(converted) FILTER (WHERE direction = 'out') AS payable,
        sum(converted) FILTER (WHERE direction = 'out' AND day < %(today)s) AS overdue_payable,
        sum(payments) FILTER (WHERE converted IS NULL) AS unconverted
    FROM {converted} AS line
    WHERE NOT paid
    GROUP BY 1
)

SELECT
    summed.counterparty_id,
    counterparty.counterparty_legal_name AS counterparty,
    round(coalesce(summed.receivable, 0), 2) AS receivable,
    round(coalesce(summed.overdue_receivable, 0), 2) AS overdue_receivable,
    round(coalesce(summed.payable, 0), 2) AS payable,
    round(coalesce(summed.overdue_payable, 0), 2) AS overdue_payable,
    coalesce(summed.unconverted, 0)::bigint AS unconverted
FROM summed
JOIN dim_counterparty AS counterparty ON counterparty.counterparty_id = summed.counterparty_id
ORDER BY
    greatest(coalesce(summed.receivable, 0), coalesce(summed.payable, 0)) DESC,
    summed.counterparty_id
