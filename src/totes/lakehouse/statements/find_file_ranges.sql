-- The ranges of keys of the files.
CREATE OR REPLACE TEMPORARY TABLE file_ranges AS
SELECT _file, min({first_key}) AS lower, max({first_key}) AS upper
FROM file_rows
GROUP BY _file
