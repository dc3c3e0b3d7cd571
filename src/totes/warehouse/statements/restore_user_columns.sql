-- Restore the values of columns that users added, after a rebuild.
UPDATE {star} AS rebuilt SET ({user_columns}) = ROW({values})
FROM {saved} AS saved
WHERE ({rebuilt_key}) = ({saved_key})
