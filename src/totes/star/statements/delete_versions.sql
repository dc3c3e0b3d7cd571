-- Delete the versions that equal the version before them: the rejected version between them was
-- released.
DELETE FROM {star} AS f
USING {actions} AS a
WHERE a._action = 'delete' AND f.{surrogate} = a.{surrogate}
