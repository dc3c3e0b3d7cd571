-- The temporary table for the actions on versions of a fact: insert, update (of valid_to), delete.
CREATE TEMPORARY TABLE IF NOT EXISTS {actions} ON COMMIT DELETE ROWS AS
SELECT NULL::text AS _action, {surrogate}, {key}, valid_from, valid_to
FROM {star} WHERE false;
TRUNCATE {actions}
