-- Of the keys that are referred to, delete those that a file of the dimension has.
DELETE FROM {keys} WHERE value IN (SELECT {dimension_key} FROM file_content)
