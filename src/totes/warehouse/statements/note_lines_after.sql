-- The current lines of all the keys that a batch has touched.
INSERT INTO {changed}
SELECT line.*, 1 FROM ({lines}) AS line WHERE line.{key} IN (SELECT {key} FROM {touched})
