# The warehouse: access, backups, and protection from deletion.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  name              = "totes-test"
  subnets           = ["subnet-1", "subnet-2"]
  security_group    = "sg-1"
  major_version     = "17"
  apply_immediately = false

  allow_major_version_upgrade = false

  instance_class      = "db.t4g.small"
  storage_gb          = 20
  max_storage_gb      = 100
  multi_az            = true
  backup_days         = 14
  deletion_protection = true
  final_snapshot      = true
  log_days            = 365
  keys = {
    data    = "arn:aws:kms:eu-west-2:111122223333:key/data"
    secrets = "arn:aws:kms:eu-west-2:111122223333:key/secrets"
    signals = "arn:aws:kms:eu-west-2:111122223333:key/signals"
  }
}

run "protected" {
  command = plan

  module {
    source = "./modules/warehouse"
  }

  assert {
    condition = (
      aws_db_instance.this.storage_encrypted && aws_db_instance.this.kms_key_id == var.keys.data &&
      aws_db_instance.this.performance_insights_enabled && aws_db_instance.this.performance_insights_kms_key_id == var.keys.data
    )
    error_message = "Storage must be encrypted with our key."
  }

  assert {
    condition     = anytrue([for parameter in aws_db_parameter_group.this.parameter : parameter.name == "rds.force_ssl" && parameter.value == "1"]) && aws_db_instance.this.parameter_group_name == aws_db_parameter_group.this.name
    error_message = "TLS must be required."
  }

  assert {
    condition     = !aws_db_instance.this.publicly_accessible && aws_db_instance.this.vpc_security_group_ids == toset(["sg-1"])
    error_message = "The warehouse must be reachable through its security group only."
  }

  assert {
    condition     = aws_db_instance.this.manage_master_user_password && aws_db_instance.this.password == null && aws_db_instance.this.master_user_secret_kms_key_id == var.keys.secrets
    error_message = "RDS must generate and store the master password."
  }

  assert {
    condition = (
      aws_db_instance.this.deletion_protection && !aws_db_instance.this.skip_final_snapshot && !aws_db_instance.this.delete_automated_backups &&
      aws_db_instance.this.backup_retention_period == 14 && aws_db_instance.this.multi_az && aws_db_instance.this.max_allocated_storage == 100
    )
    error_message = "It must be backed up and protected from deletion."
  }

  assert {
    condition     = aws_db_instance.this.monitoring_interval == 60 && aws_db_instance.this.enabled_cloudwatch_logs_exports == toset(["postgresql", "upgrade"])
    error_message = "It must be monitored."
  }

  assert {
    condition     = aws_db_instance.this.database_insights_mode == "standard" && aws_db_instance.this.performance_insights_retention_period == 7
    error_message = "Database Insights must be in its standard mode, which keeps 7 days."
  }

  assert {
    condition     = !aws_db_instance.this.allow_major_version_upgrade && !aws_db_instance.this.apply_immediately
    error_message = "Without its variables, no deployment may change the major version or interrupt connections."
  }

  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.this : group.kms_key_id == var.keys.signals && group.retention_in_days == 365])
    error_message = "Its logs must be encrypted and expire."
  }

  assert {
    condition = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => "${alarm.metric_name} ${alarm.comparison_operator} ${alarm.threshold} ${alarm.evaluation_periods}" } == {
      storage = "FreeStorageSpace LessThanThreshold 2147483648 3"
      cpu     = "CPUUtilization GreaterThanThreshold 80 3"
    }
    error_message = "An alarm is missing or watches the wrong metric."
  }

  assert {
    condition     = alltrue([for alarm in aws_cloudwatch_metric_alarm.this : alarm.dimensions == tomap({ DBInstanceIdentifier = "totes-test" }) && alarm.period == 600])
    error_message = "Its alarms must watch it."
  }
}

run "upgraded" {
  command = plan

  module {
    source = "./modules/warehouse"
  }

  variables {
    major_version               = "18"
    allow_major_version_upgrade = true
    apply_immediately           = true
  }

  assert {
    condition = (
      aws_db_instance.this.engine_version == "18" && aws_db_instance.this.parameter_group_name == "totes-test-postgres18" && aws_db_parameter_group.this.family == "postgres18" &&
      aws_db_instance.this.allow_major_version_upgrade && aws_db_instance.this.apply_immediately
    )
    error_message = "Another major version must have a parameter group of its own."
  }
}

# Removing the deletion protection must not remove the final snapshot.
run "without_deletion_protection" {
  command = plan

  module {
    source = "./modules/warehouse"
  }

  variables {
    deletion_protection = false
  }

  assert {
    condition     = !aws_db_instance.this.deletion_protection && !aws_db_instance.this.skip_final_snapshot && !aws_db_instance.this.delete_automated_backups && aws_db_instance.this.final_snapshot_identifier == "totes-test-final"
    error_message = "A destroyed warehouse must leave a snapshot."
  }
}

run "without_final_snapshot" {
  command = plan

  module {
    source = "./modules/warehouse"
  }

  variables {
    deletion_protection = false
    final_snapshot      = false
  }

  assert {
    condition     = aws_db_instance.this.skip_final_snapshot && aws_db_instance.this.delete_automated_backups
    error_message = "Without final_snapshot it must leave none."
  }
}
