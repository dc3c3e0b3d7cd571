# The variable files that are deployed: -var-file says which (tests/test_terraform.py gives each).

mock_provider "aws" {
  source = "./tests/mocks"
}

run "as_written" {
  command = plan

  variables {
    bundle = "./versions.tf" # any file
  }

  assert {
    condition     = var.environment == "prod" || var.environment == "dev"
    error_message = "Its name is its file's."
  }

  assert {
    condition     = var.environment != "prod" || (var.warehouse_enabled && var.warehouse_deletion_protection && var.warehouse_multi_az && var.warehouse_backup_days >= 14)
    error_message = "What people rely on must be hard to lose."
  }

  assert {
    condition     = var.environment != "prod" || (!var.force_destroy && var.secret_recovery_days >= 7 && var.log_days >= 365)
    error_message = "What people rely on must not go away with a command."
  }

  assert {
    condition     = var.bounded
    error_message = "GitHub's role may make no role without its boundary."
  }

  assert {
    condition     = var.flow_enabled && var.ingest_every_minutes <= 5 && var.load_every_minutes <= 5
    error_message = "It must keep the deadline."
  }
}
