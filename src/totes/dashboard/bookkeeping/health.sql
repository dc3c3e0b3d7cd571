-- The health of the pipeline, in the order of metrics/health.py.
SELECT
    (
        SELECT
            round(greatest(extract(EPOCH FROM clock_timestamp() - checked_at), 0) / 60, 1)
        FROM totes.freshness
    ) AS data_age_minutes,
    (
        SELECT count(*) FROM totes.quarantine
        WHERE superseded_at IS NULL AND released_at IS NULL
    ) AS quarantined_rows,
    coalesce((SELECT NOT equal FROM totes.verifications), false)::integer AS failed_verifications
