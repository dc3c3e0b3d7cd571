-- The tables for all batches: the numbers of versions, and the rejected and waiting versions, also
-- released ones, as totes.quarantine has them in the warehouse. `version` has the values of those
-- that wait for a dimension row, and is NULL in others.
CREATE TEMPORARY SEQUENCE IF NOT EXISTS version_numbers;

CREATE OR REPLACE TEMPORARY TABLE quarantine (
    star_table varchar,
    key varchar,
    valid_from timestamptz,
    superseded_at timestamptz,
    released_at timestamptz,
    batch bigint,
    version {version_type}
)
