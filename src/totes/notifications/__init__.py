"""Alert rules and the scheduled report: what is sent without anyone opening the dashboard."""
