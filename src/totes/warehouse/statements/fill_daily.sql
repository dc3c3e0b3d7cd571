-- The totals of all lines, into an empty table.
INSERT INTO {daily} ({columns})
SELECT {keys}, {sums}
FROM ({lines}) AS line
WHERE {only}
GROUP BY {keys}
