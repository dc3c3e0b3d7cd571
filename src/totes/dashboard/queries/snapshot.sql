-- All that a page reads is of one moment. Before that moment is taken, it waits for the end of a
-- rebuild: a table that was emptied after the moment is empty for it, whatever was there before.
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY;
LOCK TABLE totes.batches IN ACCESS SHARE MODE
