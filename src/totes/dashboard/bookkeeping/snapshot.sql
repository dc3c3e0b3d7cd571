-- All queries of a page read one snapshot. The LOCK waits for the end of a rebuild before the
-- snapshot is taken: a table that is truncated after a snapshot is empty for it.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
LOCK TABLE totes.batches IN ACCESS SHARE MODE
