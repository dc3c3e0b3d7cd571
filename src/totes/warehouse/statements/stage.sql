-- Where a batch's rows of one star table wait; `valid_to` is when they ended, where that is known.
CREATE TEMPORARY TABLE IF NOT EXISTS {staged} ON COMMIT DELETE ROWS AS
SELECT {columns}, NULL::timestamptz AS valid_from, NULL::timestamptz AS valid_to, NULL::text AS _op
FROM {star} WHERE false
