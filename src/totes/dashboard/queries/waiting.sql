-- What waits in quarantine of one fact, for each total that it may belong to: how many rows surely
-- do and are missing, what those are worth that can be valued, and how many rows may. A refused
-- change left the version before it in the total: of these, how many there are, and by how much the
-- total would differ. Nothing of a refused row needs to be what it should be: what can't be told is
-- NULL here, and so is then whether it belongs.
WITH newest AS (
    SELECT DISTINCT ON (key) key, row
    FROM totes.quarantine
    WHERE star_table = %(fact)s
        AND released_at IS NULL  -- what was let in is in the totals, those of the past too
        AND valid_from <= coalesce(%(as_of)s::timestamptz, 'infinity')
        AND (
            superseded_at IS NULL
            OR superseded_at > coalesce(%(as_of)s::timestamptz, 'infinity')
        )
    ORDER BY key, valid_from DESC
),

versions AS (
    SELECT key, row, false AS counted FROM newest
    UNION ALL
    SELECT newest.key, to_jsonb(earlier), true
    FROM newest
    JOIN {earlier} AS earlier
        ON earlier.{key} = CASE WHEN newest.key ~ '^[0-9]{{1,18}}$' THEN newest.key::bigint END
),

told AS (
    SELECT
        key,
        counted,
        {day} AS day,
        {made} AS made,
        CASE WHEN currency_id ~ {whole} THEN currency_id::bigint END AS currency_id,
        CASE WHEN counterparty_id ~ {whole} THEN counterparty_id::bigint END AS counterparty_id,
        CASE
            WHEN price ~ '^-?[0-9]{{1,16}}(\.[0-9]{{1,9}})?$'
                AND quantity ~ '^-?[0-9]{{1,10}}$'
                THEN sign * price::numeric * quantity::numeric
        END AS value,
        in_country,
        in_department,
        direction,
        paid
    FROM {waiting} AS waiting
),

narrowed AS (
    SELECT
        *,
        (%(currency_ids)s::int[] IS NULL OR currency_id = ANY(%(currency_ids)s::int[]))
        AND (%(countries)s::text[] IS NULL OR in_country)
        AND (%(departments)s::text[] IS NULL OR in_department)
        AND (
            %(counterparties)s::int[] IS NULL
            OR counterparty_id = ANY(%(counterparties)s::int[])
        ) AS chosen
    FROM told
),

totals (total, direction, paid, due) AS (
    VALUES
    ('orders', NULL, NULL, 'in the period'),
    ('cash_in', 'in', true, 'in the period'),
    ('cash_out', 'out', true, 'in the period'),
    ('receivable', 'in', false, 'whenever'),
    ('payable', 'out', false, 'whenever'),
    ('overdue_receivable', 'in', false, 'before today'),
    ('overdue_payable', 'out', false, 'before today'),
    ('never_paid_receivable', 'in', false, 'never'),
    ('never_paid_payable', 'out', false, 'never')
),

placed AS (
    SELECT
        totals.total,
        line.key,
        line.counted,
        line.converted,
        line.chosen
        AND (totals.direction IS NULL OR line.direction = totals.direction)
        AND (totals.paid IS NULL OR line.paid = totals.paid)
        AND CASE totals.due
            WHEN 'in the period' THEN line.day BETWEEN %(since)s AND %(until)s
            WHEN 'before today' THEN line.day < %(today)s
            WHEN 'never'  -- see part_never_paid.sql
                THEN line.day < %(today)s
                    AND (extract(ISODOW FROM line.day) > 5 OR line.day = line.made)
            ELSE true
        END AS belongs
    FROM {converted} AS line
    CROSS JOIN totals
),

keyed AS (
    SELECT
        total,
        bool_or(belongs) FILTER (WHERE NOT counted) AS belongs,
        max(converted) FILTER (WHERE NOT counted) AS worth,
        coalesce(bool_or(belongs) FILTER (WHERE counted), false) AS counted,
        max(converted) FILTER (WHERE counted) AS counted_worth
    FROM placed
    GROUP BY total, key
),

compared AS (
    SELECT *, CASE belongs WHEN true THEN worth WHEN false THEN 0 END - counted_worth AS difference
    FROM keyed
)

SELECT
    total,
    count(*) FILTER (WHERE NOT counted AND belongs) AS rows,
    round(coalesce(sum(worth) FILTER (WHERE NOT counted AND belongs), 0), 2) AS value,
    count(*) FILTER (WHERE NOT counted AND belongs AND worth IS NULL) AS unvalued,
    count(*) FILTER (WHERE NOT counted AND belongs IS NULL) AS unsure,
    count(*) FILTER (WHERE counted) AS outdated,
    round(coalesce(sum(difference) FILTER (WHERE counted), 0), 2) AS difference,
    count(*) FILTER (WHERE counted AND difference IS NULL) AS undetermined
FROM compared
GROUP BY total
