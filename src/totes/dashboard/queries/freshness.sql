-- How fresh the warehouse is, and when it was proven.
SELECT freshness.data_to, freshness.checked_at, verification.verified_at, verification.equal
FROM totes.freshness AS freshness
LEFT JOIN totes.verifications AS verification ON true
