-- A row for each quarantined version that differs from those in the file that was read.
(FROM quarantine_before EXCEPT FROM quarantine)
UNION ALL
(FROM quarantine EXCEPT FROM quarantine_before)
