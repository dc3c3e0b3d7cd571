-- Batches before which versions may be missing.

ALTER TABLE totes.batches ADD COLUMN gap text;
CREATE INDEX batches_gap ON totes.batches (batch) WHERE gap IS NOT NULL;
COMMENT ON COLUMN totes.batches.gap IS
'Why versions between the previous batch and this one may be missing; NULL if none are.';
