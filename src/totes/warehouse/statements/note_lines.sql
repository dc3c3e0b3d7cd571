-- The current lines of the keys that a batch may change.
INSERT INTO {changed}
SELECT line.*, {sign} FROM ({lines}) AS line WHERE line.{key} IN (SELECT {key} FROM {touched})
