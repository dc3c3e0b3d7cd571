-- A row of which one batch has two versions with the same valid_from.
SELECT cast(({key}) AS varchar), _batch
FROM slice
WHERE _op = 'upsert'
GROUP BY {key}, valid_from, _batch
HAVING count(*) > 1
ORDER BY _batch
LIMIT 1
