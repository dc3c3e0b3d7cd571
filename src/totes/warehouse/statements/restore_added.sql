-- Puts the values of users' columns back after a rebuild.
UPDATE {star} AS made SET ({added}) = ROW({values})
FROM {kept} AS kept
WHERE ({made_key}) = ({kept_key})
