-- The current lines of the keys that a star touches, before it changes them.
INSERT INTO {changed}
SELECT line.*, -1
FROM ({lines}) AS line
WHERE line.{key} IN (SELECT {key} FROM {touched} WHERE by_star = {star})
