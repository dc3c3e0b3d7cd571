-- The temporary table for a batch's rows of one star table. `valid_to` is set for versions from
-- quarantine that have ended.
CREATE TEMPORARY TABLE IF NOT EXISTS {staged} ON COMMIT DELETE ROWS AS
SELECT {columns}, NULL::timestamptz AS valid_from, NULL::timestamptz AS valid_to, NULL::text AS _op
FROM {star} WHERE false
