-- Rows with the value of their partition, in the order in which they are written.
SELECT {columns}, cast({partition} AS bigint) AS _partition, cast(o._range AS bigint) AS _range
FROM ({rows}) AS o
ORDER BY _partition, _range, {order}
