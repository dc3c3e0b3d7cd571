-- Begin with the quarantined versions in a file; new columns are NULL in an older file.
INSERT INTO quarantine BY NAME
SELECT * FROM read_parquet({path}, hive_partitioning = false);
CREATE OR REPLACE TEMPORARY TABLE quarantine_before AS FROM quarantine
