-- The counterparties, designs and members of staff who share their name with another.
WITH named (kind, key, name) AS (
    SELECT 'counterparty', counterparty_id, counterparty_legal_name FROM dim_counterparty
    UNION ALL
    SELECT 'design', design_id, design_name FROM dim_design
    UNION ALL
    SELECT 'staff', staff_id, first_name || ' ' || last_name FROM dim_staff
),

shared AS (
    SELECT kind, array_agg(key) AS keys FROM named GROUP BY kind, name HAVING count(*) > 1
)

SELECT
    ARRAY(SELECT unnest(keys) FROM shared WHERE kind = 'counterparty') AS counterparty_namesakes,
    ARRAY(SELECT unnest(keys) FROM shared WHERE kind = 'design') AS design_namesakes,
    ARRAY(SELECT unnest(keys) FROM shared WHERE kind = 'staff') AS staff_namesakes
