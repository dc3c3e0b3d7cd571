-- The actions on versions of a fact: insert, update (of valid_to), delete.
CREATE OR REPLACE TEMPORARY TABLE actions AS
SELECT NULL::varchar AS _action, {surrogate}, {key}, valid_from, valid_to
FROM file_rows WHERE false
