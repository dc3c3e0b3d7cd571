-- What others added to rows that a rebuild has made again.
UPDATE {star} AS made SET ({added}) = ROW({values})
FROM {kept} AS kept
WHERE ({made_key}) = ({kept_key})
