-- Open payments by how long they have been due; also their exact value, NULL where none is known.
WITH ages (age, place, first_day, last_day) AS (
    VALUES
    ('not due', 1, NULL, 0),
    ('1-30 days', 2, 1, 30),
    ('31-60 days', 3, 31, 60),
    ('61-90 days', 4, 61, 90),
    ('over 90 days', 5, 91, NULL)
)

SELECT
    direction.direction,
    ages.age,
    coalesce(sum(line.payments), 0)::bigint AS payments,
    CASE WHEN count(line.day) = 0 THEN 0.00 ELSE round(sum(line.converted), 2) END AS value,
    coalesce(sum(line.payments) FILTER (WHERE line.lacks_rate), 0)::bigint AS unconverted,
    sum(line.converted) AS exact
FROM ages
CROSS JOIN (VALUES ('in'), ('out')) AS direction (direction)
LEFT JOIN {converted} AS line
    ON line.direction = direction.direction
    AND NOT line.paid
    AND (ages.first_day IS NULL OR %(today)s::date - line.day >= ages.first_day)
    AND (ages.last_day IS NULL OR %(today)s::date - line.day <= ages.last_day)
GROUP BY direction.direction, ages.age, ages.place
ORDER BY direction.direction, ages.place
