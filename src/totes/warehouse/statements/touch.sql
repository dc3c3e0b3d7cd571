-- The keys that a star's staged rows may change, but for those that another has touched before.
INSERT INTO {touched}
SELECT DISTINCT staged.{key}, {star}
FROM {staged} AS staged
WHERE NOT EXISTS (SELECT FROM {touched} AS known WHERE known.{key} = staged.{key})
