-- Set valid_to of the versions that are followed by another event now.
UPDATE {star} AS f SET valid_to = a.valid_to
FROM {actions} AS a
WHERE a._action = 'update' AND f.{surrogate} = a.{surrogate}
