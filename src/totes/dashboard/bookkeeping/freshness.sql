-- How current the warehouse is, the result of the last verification, and the rows in quarantine.
SELECT
    clock_timestamp() AS now,
    freshness.data_to,
    freshness.checked_at,
    verification.verified_at,
    verification.batch,
    verification.equal,
    (
        SELECT count(*) FROM totes.quarantine
        WHERE superseded_at IS NULL AND released_at IS NULL
    ) AS quarantined
FROM totes.freshness AS freshness
LEFT JOIN totes.verifications AS verification ON true
