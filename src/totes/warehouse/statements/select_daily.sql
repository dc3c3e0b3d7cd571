-- The totals of all lines.
SELECT {keys}, {sums}
FROM ({lines}) AS line
WHERE {only}
GROUP BY {keys}
