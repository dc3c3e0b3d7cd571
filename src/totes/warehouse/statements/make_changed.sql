-- Where a batch's keys of one fact wait, and their current lines as they were (-1) and are (1).
CREATE TEMPORARY TABLE IF NOT EXISTS {touched} ON COMMIT DELETE ROWS AS
SELECT {key} FROM {staged} WHERE false;
CREATE TEMPORARY TABLE IF NOT EXISTS {changed} ON COMMIT DELETE ROWS AS
SELECT line.*, 1 AS sign FROM ({lines}) AS line WHERE false;
TRUNCATE {touched}, {changed}
