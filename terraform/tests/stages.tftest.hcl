# A function: its configuration, and its alarms.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

run "one_function" {
  command = plan

  module {
    source = "./modules/stage"
  }

  variables {
    name               = "totes-test"
    environment_name   = "test"
    stage              = "load"
    bundle             = { bucket = "artefacts", key = "bundles/one.zip", hash = "c29tZQ==" }
    environment        = {}
    listable_buckets   = ["arn:aws:s3:::processed"]
    readable_objects   = ["arn:aws:s3:::processed/*"]
    alert_topic        = "arn:aws:sns:eu-west-2:111122223333:alerts"
    memory_mb          = 1000
    scratch_mb         = 2048
    log_days           = 365
    tracing            = true
    every_minutes      = 5
    unavailable_metric = "WarehouseUnavailable"
    network            = { subnets = ["subnet-1", "subnet-2"], security_group = "sg-1" }
    keys = {
      data    = "arn:aws:kms:eu-west-2:111122223333:key/data"
      secrets = "arn:aws:kms:eu-west-2:111122223333:key/secrets"
      signals = "arn:aws:kms:eu-west-2:111122223333:key/signals"
    }
  }

  assert {
    condition = alltrue([
      aws_lambda_function.this.handler == "totes.aws.handlers.load",
      aws_lambda_function.this.runtime == "python3.12",
      aws_lambda_function.this.architectures == tolist(["x86_64"]),
      aws_lambda_function.this.timeout == 900,
      aws_lambda_function.this.memory_size == 1000,
      aws_lambda_function.this.environment[0].variables.TOTES_MEMORY == "600MB",
      aws_lambda_function.this.ephemeral_storage[0].size == 2048,
      aws_lambda_function.this.s3_bucket == "artefacts",
      aws_lambda_function.this.reserved_concurrent_executions == -1,
    ])
    error_message = "The function's configuration is wrong."
  }

  assert {
    condition     = aws_lambda_function.this.kms_key_arn == var.keys.secrets
    error_message = "The environment must be encrypted with our key."
  }

  assert {
    condition     = toset(aws_lambda_function.this.vpc_config[0].subnet_ids) == toset(var.network.subnets)
    error_message = "The function must run in the network's subnets."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.retention_in_days == 365 && aws_cloudwatch_log_group.this.kms_key_id == var.keys.signals
    error_message = "Logs must be encrypted and expire."
  }

  assert {
    condition     = aws_lambda_function_event_invoke_config.this.maximum_retry_attempts == 0 && length(aws_lambda_function_event_invoke_config.this.destination_config) == 0
    error_message = "A failed event must be neither retried nor kept: the schedule repeats the call."
  }

  assert {
    condition = anytrue([for statement in jsondecode(aws_iam_role_policy.this.policy).Statement :
      statement.Effect == "Deny" && statement.Action == ["ec2:*"] && endswith(try(statement.Condition.ArnEquals["lambda:SourceFunctionArn"], ""), ":function:totes-test-load")
    ])
    error_message = "The function's code must not change the network."
  }

  # metric, statistic, threshold, points of periods
  assert {
    condition = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => "${alarm.namespace} ${alarm.metric_name} ${alarm.statistic} ${alarm.threshold} ${alarm.datapoints_to_alarm}/${alarm.evaluation_periods}" } == {
      errors      = "AWS/Lambda Errors Sum 0 1/3"
      throttles   = "AWS/Lambda Throttles Sum 0 2/3"
      slow        = "totes DurationSeconds Maximum 720 1/3"
      memory      = "totes MemoryUsed-test-load Maximum 850 2/2"
      unavailable = "totes WarehouseUnavailable Minimum 0 2/3"
    }
    error_message = "An alarm is missing or watches the wrong metric."
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.this :
      alarm.alarm_actions == null && alarm.ok_actions == null && alarm.comparison_operator == "GreaterThanThreshold" && alarm.period == 600
    ])
    error_message = "An alarm must be silent, and each period must have a call."
  }

  assert {
    condition = alltrue([
      aws_cloudwatch_metric_alarm.this["unavailable"].dimensions == tomap({ service = "load", environment = "test" }),
      aws_cloudwatch_metric_alarm.this["errors"].dimensions == tomap({ FunctionName = "totes-test-load" }),
    ])
    error_message = "An alarm watches another function's metric."
  }

  assert {
    condition = (
      aws_lambda_function.this.logging_config[0].log_format == "JSON" &&
      aws_cloudwatch_log_metric_filter.memory.pattern == "{ $.type = \"platform.report\" }" &&
      aws_cloudwatch_log_metric_filter.memory.metric_transformation[0].value == "$.record.metrics.maxMemoryUsedMB" &&
      aws_cloudwatch_log_metric_filter.memory.metric_transformation[0].name == aws_cloudwatch_metric_alarm.this["memory"].metric_name
    )
    error_message = "The used memory must be read from the report line."
  }
}

run "rare_calls" {
  command = plan

  module {
    source = "./modules/stage"
  }

  variables {
    name               = "totes-test"
    environment_name   = "test"
    stage              = "ingest"
    bundle             = { bucket = "artefacts", key = "bundles/one.zip", hash = "c29tZQ==" }
    environment        = {}
    listable_buckets   = ["arn:aws:s3:::ingestion"]
    readable_objects   = ["arn:aws:s3:::ingestion/*"]
    alert_topic        = "arn:aws:sns:eu-west-2:111122223333:alerts"
    memory_mb          = 1000
    scratch_mb         = 2048
    log_days           = 365
    tracing            = true
    every_minutes      = 15
    unavailable_metric = "SourceUnavailable"
    keys = {
      data    = "arn:aws:kms:eu-west-2:111122223333:key/data"
      secrets = "arn:aws:kms:eu-west-2:111122223333:key/secrets"
      signals = "arn:aws:kms:eu-west-2:111122223333:key/signals"
    }
  }

  assert {
    condition     = aws_cloudwatch_metric_alarm.this["unavailable"].period == 1800 && aws_cloudwatch_metric_alarm.this["unavailable"].datapoints_to_alarm == 1
    error_message = "Each period must have a call, and a source that is unavailable must be reported within half an hour."
  }
}
