-- The totals of all lines.
SELECT {keys}, {sums}
FROM ({lines}) AS line
GROUP BY {keys}
