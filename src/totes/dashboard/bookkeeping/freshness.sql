-- How current the warehouse is, and the result of the last verification.
SELECT
    clock_timestamp() AS now,
    freshness.data_to,
    freshness.checked_at,
    verification.verified_at,
    verification.equal
FROM totes.freshness AS freshness
LEFT JOIN totes.verifications AS verification ON true
