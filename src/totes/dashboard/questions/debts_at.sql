-- Open payments at the first of the moments, by direction; `overdue_…` are those due before that
-- day. A sum is NULL if none of its payments has a rate.
SELECT
    way.direction,
    total(count(debt.day), sum(debt.high), sum(debt.low)) AS value,
    count(debt.day) AS payments,
    count(*) FILTER (WHERE debt.lacks_rate) AS unconverted,
    total(
        count(*) FILTER (WHERE debt.overdue),
        sum(debt.high) FILTER (WHERE debt.overdue),
        sum(debt.low) FILTER (WHERE debt.overdue)
    ) AS overdue_value,
    count(*) FILTER (WHERE debt.overdue) AS overdue_payments,
    count(*) FILTER (WHERE debt.overdue AND debt.lacks_rate) AS overdue_unconverted
FROM (VALUES ('in'), ('out')) AS way (direction)
LEFT JOIN (
    SELECT *, day < getvariable('moments')[1]::date AS overdue
    FROM debt_version_line
    WHERE selected
        AND valid_from <= getvariable('moments')[1]
        AND (ended_at IS NULL OR ended_at > getvariable('moments')[1])
) AS debt ON debt.direction = way.direction
GROUP BY way.direction
ORDER BY way.direction;
