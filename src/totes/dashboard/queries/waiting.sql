-- What waits in quarantine of one fact, as far as its day may lie in the period, with the value of
-- what can be valued: nothing of it needs to be what it should be.
WITH waiting AS (
    SELECT
        quarantine.row ->> %(day)s AS day,
        currency.currency_code,
        currency.currency_id,
        CASE
            WHEN price.text !~ '^-?[0-9]{{1,16}}(\.[0-9]{{1,9}})?$' THEN NULL
            WHEN %(quantity)s::text IS NULL THEN price.text::numeric
            WHEN quantity.text ~ '^-?[0-9]{{1,10}}$' THEN price.text::numeric * quantity.text::numeric
        END AS value
    FROM totes.quarantine AS quarantine
    CROSS JOIN LATERAL (SELECT quarantine.row ->> %(price)s AS text) AS price
    CROSS JOIN LATERAL (SELECT quarantine.row ->> %(quantity)s AS text) AS quantity
    LEFT JOIN dim_currency AS currency
        ON currency.currency_id::text = quarantine.row ->> 'currency_id'
    WHERE quarantine.star_table = %(fact)s
        AND (
            CASE WHEN %(as_of)s::timestamptz IS NULL
                THEN quarantine.released_at IS NULL AND quarantine.superseded_at IS NULL
                ELSE
                    quarantine.valid_from <= %(as_of)s
                    AND coalesce(quarantine.released_at > %(as_of)s, true)
                    AND coalesce(quarantine.superseded_at > %(as_of)s, true)
            END
        )
)

SELECT
    count(*) AS rows,
    round(coalesce(sum(valued.converted), 0), 2) AS value,
    count(*) FILTER (WHERE valued.converted IS NULL) AS unvalued
FROM (
    SELECT
        CASE
            WHEN waiting.currency_code = %(reporting)s THEN waiting.value
            ELSE waiting.value * rate.rate
        END AS converted
    FROM waiting
    LEFT JOIN {rates} AS rate
        ON rate.currency_id = waiting.currency_id AND rate.day::text = waiting.day
    WHERE waiting.day !~ '^[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}$'
        OR waiting.day IS NULL
        OR waiting.day COLLATE "C" BETWEEN %(since)s::text AND %(until)s::text
) AS valued
