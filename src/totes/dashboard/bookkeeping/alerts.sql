-- The last check of each alert rule; those that alert first.
SELECT rule, condition, state, value, since, checked_at
FROM totes.alerts
ORDER BY array_position(ARRAY['alert', 'unknown', 'ok'], state), rule
