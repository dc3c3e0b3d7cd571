-- `file_rows`: the rows of all files that have a key of the slice, with the number of their file;
-- new rows have none. `replaced_files`: the files whose rows change.
CREATE OR REPLACE TEMPORARY TABLE file_rows (
    _file integer,
    {surrogate} bigint DEFAULT nextval('version_numbers'),
    {column_definitions}
);

CREATE OR REPLACE TEMPORARY TABLE replaced_files (_file integer)
