-- A version that comes late ended with the next event in the history of its key, if there is one.
UPDATE {staged} s SET valid_to = e.ended_at
FROM (
    SELECT s.{key} AS key, min(event.at) AS ended_at
    FROM {staged} s
    JOIN {star} f ON f.{key} = s.{key}
    CROSS JOIN LATERAL (VALUES (f.valid_from), (f.valid_to)) AS event (at)
    WHERE s.valid_from = {moment} AND event.at > {moment}
    GROUP BY s.{key}
) AS e
WHERE s.{key} = e.key AND s.valid_from = {moment}
