-- The values of columns that users added, by the key of their row.
CREATE TEMPORARY TABLE {kept} ON COMMIT DROP AS SELECT {key}, {added} FROM {star}
