-- The totals that a batch changes; one without rows is no total.
MERGE INTO {daily} AS d
USING (SELECT {keys}, {signed} FROM {changed} WHERE {only} GROUP BY {keys}) AS c
ON {same}
WHEN MATCHED AND d.{count} + c.{count} = 0 THEN DELETE
WHEN MATCHED AND ({changes}) THEN UPDATE SET {added}
WHEN NOT MATCHED AND c.{count} <> 0 THEN INSERT ({columns}) VALUES ({given})
