-- The state of alert rules, and which scheduled reports were sent.

CREATE TABLE totes.alerts (
    rule text PRIMARY KEY,
    condition text NOT NULL,
    state text NOT NULL CHECK (state IN ('ok', 'alert', 'unknown')),
    value text NOT NULL,
    since timestamptz NOT NULL,
    checked_at timestamptz NOT NULL
);
COMMENT ON TABLE totes.alerts IS
'The last check of each alert rule. Rules that are no longer checked are removed after a day.';
COMMENT ON COLUMN totes.alerts.rule IS 'The name of the rule.';
COMMENT ON COLUMN totes.alerts.condition IS 'When it alerts, in words.';
COMMENT ON COLUMN totes.alerts.state IS
'alert: the condition holds, and a message was sent; unknown: its value can''t be computed.';
COMMENT ON COLUMN totes.alerts.value IS
'The value in words, or the reason why it can''t be computed.';
COMMENT ON COLUMN totes.alerts.since IS 'When the state began, by the warehouse''s clock.';
COMMENT ON COLUMN totes.alerts.checked_at IS 'Time of the last check, by the warehouse''s clock.';

CREATE TABLE totes.sent_reports (
    report text PRIMARY KEY,
    due_at timestamptz NOT NULL,
    sent_at timestamptz
);
COMMENT ON TABLE totes.sent_reports IS 'The last due time of each scheduled report.';
COMMENT ON COLUMN totes.sent_reports.report IS
'The schedule and the way, such as weekly by mail, or weekly by topic.';
COMMENT ON COLUMN totes.sent_reports.due_at IS 'The due time; earlier ones need not be sent.';
COMMENT ON COLUMN totes.sent_reports.sent_at IS
'When it was sent, by the warehouse''s clock; NULL for the due time before the first report.';

GRANT SELECT ON totes.alerts, totes.sent_reports TO totes_reader;
