# For production.
environment = "prod"
alarm_email = "totes-alarms@example.com" # yours
log_days    = 365

endpoint_zones           = 2
warehouse_instance_class = "db.t4g.small"
warehouse_multi_az       = true
warehouse_backup_days    = 14

network_cidr = "10.84.16.0/20" # overlaps with no other environment

bounded = true # by the policy that bootstrap/ creates
