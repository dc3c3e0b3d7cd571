-- The keys that a batch may change.
INSERT INTO {touched} SELECT DISTINCT {key} FROM {staged}
