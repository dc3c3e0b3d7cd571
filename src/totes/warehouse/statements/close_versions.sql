-- What was true until now ends where a new version or a deletion begins.
UPDATE {star} f SET valid_to = s.valid_from
FROM {staged} s
WHERE s.valid_from = {moment}
    AND {same_as_fact}
    AND f.valid_from < s.valid_from
    AND (f.valid_to IS NULL OR f.valid_to > s.valid_from)
