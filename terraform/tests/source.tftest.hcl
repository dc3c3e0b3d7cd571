# Capture from the log of totesys: off by default; a parameter group and an alarm where totesys is ours.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  environment = "test"
  alarm_email = "who@example.com"
  bundle      = "./versions.tf" # any file
}

run "scan_by_default" {
  command = plan

  assert {
    condition     = length(module.source) == 0 && output.source_parameter_group == null
    error_message = "Nothing of totesys may be configured."
  }

  assert {
    condition     = !anytrue([for name in keys(local.stages.ingest.environment) : startswith(name, "TOTES_LOG") || name == "TOTES_CAPTURE"])
    error_message = "Ingest must scan."
  }
}

run "from_the_log" {
  command = plan

  variables {
    capture         = "log"
    log_slot        = "mine"
    log_alarm_mb    = 500
    source_instance = { identifier = "totesys", major_version = "16" }
  }

  assert {
    condition = (
      local.stages.ingest.environment.TOTES_CAPTURE == "log" &&
      local.stages.ingest.environment.TOTES_LOG_SLOT == "mine" &&
      local.stages.ingest.environment.TOTES_LOG_PUBLICATION == "totes" &&
      local.stages.ingest.environment.TOTES_SOURCE_SCHEMA == "public"
    )
    error_message = "Ingest must read the log."
  }

  assert {
    condition     = !anytrue([for stage in ["transform", "load"] : contains(keys(local.stages[stage].environment), "TOTES_CAPTURE")])
    error_message = "Only ingest connects to totesys."
  }

  assert {
    condition     = output.source_parameter_group == "totes-test-source-postgres16"
    error_message = "There must be a parameter group for the instance's version."
  }
}

run "one_source" {
  command = plan

  module {
    source = "./modules/source"
  }

  variables {
    name     = "totes-test"
    instance = { identifier = "totesys", major_version = "16", retain_mb = 2000 }
    alarm_mb = 500
  }

  assert {
    condition = { for parameter in aws_db_parameter_group.this.parameter : parameter.name => "${parameter.value} ${coalesce(parameter.apply_method, "default")}" } == {
      "rds.logical_replication" = "1 pending-reboot"
      "max_slot_wal_keep_size"  = "2000 default"
    }
    error_message = "The parameters are wrong."
  }

  assert {
    condition = (
      aws_cloudwatch_metric_alarm.this["retained-log"].metric_name == "OldestReplicationSlotLag" &&
      aws_cloudwatch_metric_alarm.this["retained-log"].dimensions == tomap({ DBInstanceIdentifier = "totesys" }) &&
      aws_cloudwatch_metric_alarm.this["retained-log"].threshold == 500000000 &&
      aws_cloudwatch_metric_alarm.this["retained-log"].comparison_operator == "GreaterThanThreshold"
    )
    error_message = "The alarm must watch the log that slots of the instance retain."
  }
}
