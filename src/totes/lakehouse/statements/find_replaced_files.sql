-- The files that have a version on which there is an action.
INSERT INTO replaced_files
SELECT DISTINCT f._file
FROM file_rows AS f JOIN actions AS a ON f.{surrogate} = a.{surrogate}
WHERE f._file IS NOT NULL
