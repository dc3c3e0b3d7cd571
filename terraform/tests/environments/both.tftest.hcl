# The variable files of the environments; tests/aws/test_terraform.py passes each with -var-file.

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
    error_message = "The environment must have the name of its file."
  }

  assert {
    condition     = var.environment != "prod" || (var.warehouse_enabled && var.warehouse_deletion_protection && var.warehouse_final_snapshot && var.warehouse_multi_az && var.warehouse_backup_days >= 14)
    error_message = "Production must be protected from loss."
  }

  assert {
    condition     = var.environment != "prod" || (!var.force_destroy && var.secret_recovery_days >= 7 && var.log_days >= 365)
    error_message = "Production must be protected from deletion."
  }

  assert {
    condition     = var.bounded
    error_message = "Roles must have the boundary, without which GitHub's role can't create them."
  }

  assert {
    condition     = var.flow_enabled && var.ingest_every_minutes <= 5 && var.load_every_minutes <= 5
    error_message = "Schedules must meet the deadline."
  }
}
