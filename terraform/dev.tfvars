# For trying things out: everything may be deleted.
environment          = "dev"
alarm_email          = "totes-dev@example.com" # yours
force_destroy        = true
secret_recovery_days = 0
log_days             = 30

warehouse_deletion_protection = false
warehouse_final_snapshot      = false
warehouse_backup_days         = 1

network_cidr = "10.84.0.0/20" # overlaps with no other environment

bounded = true # by the policy that bootstrap/ creates
