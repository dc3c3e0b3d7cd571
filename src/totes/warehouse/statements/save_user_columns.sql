-- Save the values of columns that users added, with the key of their row.
CREATE TEMPORARY TABLE {saved} ON COMMIT DROP AS SELECT {key}, {user_columns} FROM {star}
