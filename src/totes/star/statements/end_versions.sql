-- Set the end of the versions that another event follows now.
UPDATE {star} AS f SET valid_to = a.valid_to
FROM {actions} AS a
WHERE a._action = 'update' AND f.{surrogate} = a.{surrogate}
