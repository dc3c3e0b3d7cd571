-- The day that a text is, NULL where it is none.
CASE
    WHEN {text} ~ '^(19[0-9]{{2}}|2[01][0-9]{{2}}|2200)-(0[1-9]|1[0-2])-[0-9]{{2}}$'
        THEN CASE
            WHEN right({text}, 2)::int BETWEEN 1 AND extract(
                DAY FROM (left({text}, 7) || '-01')::date + interval '1 month - 1 day'
            )
                THEN {text}::date
        END
END
