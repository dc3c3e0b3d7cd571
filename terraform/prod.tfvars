# What people rely on.
environment = "prod"
alarm_email = "totes-alarms@example.com" # yours
log_days    = 365
