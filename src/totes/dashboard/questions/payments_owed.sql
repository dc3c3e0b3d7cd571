-- Debts by counterparty, largest first. A sum is NULL if none of its payments has a rate.
WITH debt AS (
    SELECT
        counterparty_id,
        direction,
        is_overdue(day) AS overdue,
        sum(high) AS high,
        sum(low) AS low,
        count(*) AS payments,
        count(*) FILTER (WHERE lacks_rate) AS unconverted
    FROM converted_payment
    WHERE NOT paid AND selected
    GROUP BY ALL
),

summed AS (
    SELECT
        counterparty_id,
        total(
            sum(payments) FILTER (WHERE direction = 'in'),
            sum(high) FILTER (WHERE direction = 'in'),
            sum(low) FILTER (WHERE direction = 'in')
        ) AS receivable,
        total(
            sum(payments) FILTER (WHERE direction = 'in' AND overdue),
            sum(high) FILTER (WHERE direction = 'in' AND overdue),
            sum(low) FILTER (WHERE direction = 'in' AND overdue)
        ) AS overdue_receivable,
        total(
            sum(payments) FILTER (WHERE direction = 'out'),
            sum(high) FILTER (WHERE direction = 'out'),
            sum(low) FILTER (WHERE direction = 'out')
        ) AS payable,
        total(
            sum(payments) FILTER (WHERE direction = 'out' AND overdue),
            sum(high) FILTER (WHERE direction = 'out' AND overdue),
            sum(low) FILTER (WHERE direction = 'out' AND overdue)
        ) AS overdue_payable,
        sum(unconverted)::bigint AS unconverted
    FROM debt
    GROUP BY counterparty_id
)

SELECT
    summed.counterparty_id,
    counterparty.name AS counterparty,
    summed.receivable,
    summed.overdue_receivable,
    summed.payable,
    summed.overdue_payable,
    summed.unconverted
FROM summed
JOIN counterparty ON counterparty.counterparty_id = summed.counterparty_id
ORDER BY
    greatest(coalesce(summed.receivable, 0), coalesce(summed.payable, 0)) DESC,
    summed.counterparty_id;
