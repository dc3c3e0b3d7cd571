-- Open payments at each of the moments, and at as_of. A debt begins and ends with a version of an
-- unpaid payment. A sum is NULL if none of its payments has a rate.
WITH moment AS (
    SELECT
        unnest(
            list_append(
                getvariable('moments'), coalesce(getvariable('as_of'), timestamptz 'infinity')
            )
        ) AS moment
),

debt AS (
    SELECT *
    FROM debt_version_line
    WHERE selected AND (ended_at IS NULL OR ended_at > getvariable('moments')[1])
),

-- Summed by the moment first: a batch has one.
change AS (
    SELECT
        valid_from AS seen_at,
        direction,
        sum(high) AS high,
        sum(low) AS low,
        count(*) AS payments,
        count(*) FILTER (WHERE lacks_rate) AS unconverted
    FROM debt
    GROUP BY 1, 2
    UNION ALL
    SELECT
        ended_at AS seen_at,
        direction,
        -sum(high) AS high,
        -sum(low) AS low,
        -count(*) AS payments,
        -count(*) FILTER (WHERE lacks_rate) AS unconverted
    FROM debt
    WHERE ended_at IS NOT NULL
    GROUP BY 1, 2
),

summed AS (
    SELECT
        moment.moment,
        change.direction,
        sum(change.high) AS high,
        sum(change.low) AS low,
        sum(change.payments) AS payments,
        sum(change.unconverted) AS unconverted
    FROM change
    ASOF JOIN moment ON change.seen_at <= moment.moment
    GROUP BY ALL
),

open AS (
    SELECT
        moment.moment,
        way.direction,
        sum(summed.high) OVER earlier AS high,
        sum(summed.low) OVER earlier AS low,
        coalesce(sum(summed.payments) OVER earlier, 0) AS payments,
        coalesce(sum(summed.unconverted) OVER earlier, 0) AS unconverted
    FROM moment
    CROSS JOIN (VALUES ('in'), ('out')) AS way (direction)
    LEFT JOIN summed ON summed.moment = moment.moment AND summed.direction = way.direction
    WINDOW earlier AS (PARTITION BY way.direction ORDER BY moment.moment)
)

SELECT
    max(CASE WHEN payments <> unconverted OR payments = 0 THEN total(payments, high, low) END)
    FILTER (WHERE direction = 'in') AS receivable,
    max(CASE WHEN payments <> unconverted OR payments = 0 THEN total(payments, high, low) END)
    FILTER (WHERE direction = 'out') AS payable,
    sum(unconverted)::bigint AS unconverted
FROM open
GROUP BY moment
ORDER BY moment;
