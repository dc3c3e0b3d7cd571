INSERT INTO file_rows BY NAME SELECT {file} AS _file, * FROM file_content
