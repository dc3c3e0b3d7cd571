-- Where the keys wait that a batch touches, each with the star that did it first, and their current
-- lines as they were (-1) and are (1).
CREATE TEMPORARY TABLE IF NOT EXISTS {touched} ON COMMIT DELETE ROWS AS
SELECT line.{key}, NULL::text AS by_star FROM ({lines}) AS line WHERE false;
CREATE TEMPORARY TABLE IF NOT EXISTS {changed} ON COMMIT DELETE ROWS AS
SELECT line.*, 1 AS sign FROM ({lines}) AS line WHERE false;
TRUNCATE {touched}, {changed}
