-- Cash paid in the period, by direction.
SELECT
    way.direction,
    total(count(line.direction), sum(line.high), sum(line.low)) AS value,
    count(line.direction) AS payments,
    count(*) FILTER (WHERE line.lacks_rate) AS unconverted,
    count(*) FILTER (WHERE line.day > getvariable('today')) AS later_payments
FROM (VALUES ('in'), ('out')) AS way (direction)
LEFT JOIN (
    SELECT * FROM converted_payment
    WHERE paid AND is_in_period(day) AND selected
) AS line ON line.direction = way.direction
GROUP BY way.direction
ORDER BY way.direction;
