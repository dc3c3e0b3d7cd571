-- The values of columns that others added, by the key of their row.
CREATE TEMPORARY TABLE {kept} ON COMMIT DROP AS SELECT {key}, {added} FROM {star}
