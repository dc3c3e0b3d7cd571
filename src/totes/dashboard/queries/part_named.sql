-- A name, and beside it the key where another of the same kind has that name.
CASE WHEN {key} = ANY({namesakes}::int[]) THEN {name} || ' (' || {key} || ')' ELSE {name} END
