-- If a version is rejected again, keep only its latest record in quarantine.
DELETE FROM {quarantine} earlier
USING {quarantine} latest
WHERE latest.batch = {batch} AND earlier.batch < latest.batch
    AND earlier.star_table = latest.star_table AND earlier.key = latest.key
    AND earlier.valid_from = latest.valid_from
