# Schedules, events, alarms and the dashboard.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

run "calls" {
  command = plan

  module {
    source = "./modules/flow"
  }

  variables {
    name = "totes-test"
    functions = {
      ingest    = { name = "ingest", arn = "arn:aws:lambda:eu-west-2:111122223333:function:ingest" }
      transform = { name = "transform", arn = "arn:aws:lambda:eu-west-2:111122223333:function:transform" }
      load      = { name = "load", arn = "arn:aws:lambda:eu-west-2:111122223333:function:load" }
    }
    buckets       = { ingestion = "the-ingestion", processed = "the-processed" }
    every_minutes = { ingest = 1, transform = 5, load = 5 }
  }

  assert {
    condition = { for stage, schedule in aws_scheduler_schedule.this : stage => "${schedule.schedule_expression} ${schedule.state} ${schedule.target[0].arn}" } == {
      ingest    = "rate(1 minute) ENABLED ${var.functions.ingest.arn}"
      transform = "rate(5 minutes) ENABLED ${var.functions.transform.arn}"
      load      = "rate(5 minutes) ENABLED ${var.functions.load.arn}"
    }
    error_message = "Every stage must have its schedule."
  }

  assert {
    condition = alltrue(concat(
      [for schedule in aws_scheduler_schedule.this : length(schedule.target[0].dead_letter_config) == 0 && schedule.target[0].retry_policy[0].maximum_retry_attempts == 0],
      [for target in aws_cloudwatch_event_target.stage : length(target.dead_letter_config) == 0 && target.retry_policy[0].maximum_retry_attempts == 0],
    ))
    error_message = "No call may be retried or kept: the schedule repeats it."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.scheduler.policy).Statement == [{
      Sid      = "InvokeStages"
      Effect   = "Allow"
      Action   = "lambda:InvokeFunction"
      Resource = [var.functions.ingest.arn, var.functions.load.arn, var.functions.transform.arn]
    }]
    error_message = "The scheduler must be allowed to call the three functions only."
  }

  assert {
    condition = { for stage, rule in aws_cloudwatch_event_rule.landed : stage => jsondecode(rule.event_pattern) } == {
      transform = {
        source      = ["aws.s3"]
        detail-type = ["Object Created"]
        detail      = { bucket = { name = ["the-ingestion"] }, object = { key = [{ prefix = "batches/" }] } }
      }
      load = {
        source      = ["aws.s3"]
        detail-type = ["Object Created"]
        detail      = { bucket = { name = ["the-processed"] }, object = { key = [{ suffix = ".json" }] } }
      }
    }
    error_message = "Only manifests must call the next stage."
  }

  assert {
    condition     = alltrue([for stage, target in aws_cloudwatch_event_target.stage : target.arn == var.functions[stage].arn])
    error_message = "An event must call its stage."
  }

  assert {
    condition = alltrue([for stage, permission in aws_lambda_permission.landed :
      permission.function_name == stage && permission.principal == "events.amazonaws.com" && permission.source_arn == aws_cloudwatch_event_rule.landed[stage].arn
    ])
    error_message = "Only its own rule must be allowed to call a function."
  }
}

run "disabled" {
  command = plan

  module {
    source = "./modules/flow"
  }

  variables {
    name          = "totes-test"
    functions     = { ingest = { name = "a", arn = "arn:aws:lambda:eu-west-2:111122223333:function:a" }, transform = { name = "b", arn = "arn:aws:lambda:eu-west-2:111122223333:function:b" }, load = { name = "c", arn = "arn:aws:lambda:eu-west-2:111122223333:function:c" } }
    buckets       = { ingestion = "a", processed = "b" }
    every_minutes = { ingest = 5, transform = 5, load = 5 }
    enabled       = false
  }

  assert {
    condition = alltrue(concat(
      [for schedule in aws_scheduler_schedule.this : schedule.state == "DISABLED"],
      [for rule in aws_cloudwatch_event_rule.landed : rule.state == "DISABLED"],
    ))
    error_message = "A disabled flow must not call any function."
  }
}

# tests/aws/plan/test_incidents.py evaluates the alarms and their composition.
run "alarms" {
  command = plan

  module {
    source = "./modules/watch"
  }

  variables {
    name             = "totes-test"
    environment_name = "test"
    alarm_email      = "who@example.com"
    key              = "arn:aws:kms:eu-west-2:111122223333:key/signals"
    flow_enabled     = true
    rates_enabled    = true
    verify_cron      = "0 4 * * ? *"
    functions        = { ingest = "the-ingest", transform = "the-transform", load = "the-load" }
    stage_alarms = {
      ingest    = { errors = "i-errors", throttles = "i-throttles", slow = "i-slow", memory = "i-memory", unavailable = "i-unavailable" }
      transform = { errors = "t-errors", throttles = "t-throttles", slow = "t-slow", memory = "t-memory" }
      load      = { errors = "l-errors", throttles = "l-throttles", slow = "l-slow", memory = "l-memory", unavailable = "l-unavailable" }
    }
    warehouse_alarms = { storage = "w-storage", cpu = "w-cpu" }
    source_alarms    = { retained-log = "s-retained-log" }
    dashboard_alarms = { unavailable = "d-unavailable", errors = "d-errors" }
    iceberg_alarms   = { publish = "p-fails" }
    spark_log        = "/aws/emr-serverless/totes-test-spark"
    spark_slow_hours = 4
  }

  assert {
    condition     = aws_sns_topic.alerts.kms_master_key_id == var.key && aws_sns_topic_subscription.email.endpoint == "who@example.com" && aws_sns_topic_subscription.email.protocol == "email"
    error_message = "The topic must have a subscription and be encrypted."
  }

  # metric, dimensions, threshold, periods, minutes of each, treatment of missing data
  assert {
    condition = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => "${alarm.metric_name} ${jsonencode(alarm.dimensions)} ${alarm.threshold} ${alarm.evaluation_periods} ${alarm.period / 60} ${alarm.treat_missing_data}" } == {
      idle        = "Invocations {\"FunctionName\":\"the-load\"} 1 3 10 breaching"
      lag         = "LagSeconds {\"environment\":\"test\",\"service\":\"load\"} 900 2 10 ignore"
      quarantined = "QuarantinedRows {\"environment\":\"test\",\"service\":\"load\"} 0 1 10 ignore"
      differs     = "VerifyDiffers {\"environment\":\"test\",\"service\":\"load\"} 0 1 10 ignore"
      rates       = "RatesMissingDays {\"environment\":\"test\",\"service\":\"load\"} 1 13 120 ignore"
      unverified  = "HoursSinceVerify {\"environment\":\"test\",\"service\":\"load\"} 36 1 10 ignore"
      spark-fails = "SparkFailures {\"environment\":\"test\",\"service\":\"transform\"} 0 1 30 ignore"
      spark-slow  = "SparkMinutes {\"environment\":\"test\",\"service\":\"transform\"} 240 1 30 ignore"
      spark-busy  = "SparkMinutes {\"environment\":\"test\",\"service\":\"transform\"} 0 1 30 ignore"
    }
    error_message = "An alarm is missing or watches the wrong metric."
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_composite_alarm.mail :
      alarm.alarm_actions == toset([aws_sns_topic.alerts.arn]) && alarm.ok_actions == toset([aws_sns_topic.alerts.arn])
    ]) && length(aws_cloudwatch_composite_alarm.mail) == 18
    error_message = "Each mail must be sent when an incident begins and when it ends."
  }

  assert {
    condition     = length(flatten([for alarm in aws_cloudwatch_metric_alarm.this : [alarm.alarm_actions, alarm.ok_actions] if alarm.alarm_actions != null || alarm.ok_actions != null])) == 0
    error_message = "Metric alarms must be silent."
  }

  assert {
    condition = aws_cloudwatch_composite_alarm.mail["load"].alarm_rule == join(" OR ", [
      "ALARM(\"l-errors\")",
      "ALARM(\"l-unavailable\")",
      "(ALARM(\"totes-test-flow-idle\") AND NOT (ALARM(\"i-throttles\") OR ALARM(\"l-throttles\") OR ALARM(\"t-throttles\")))",
    ])
    error_message = "Load's mail must have every reason for which load does not load, but for one mail about throttling."
  }

  assert {
    condition     = jsondecode(aws_sns_topic_policy.alerts.policy).Statement[0].Principal == { Service = "cloudwatch.amazonaws.com" } && length(jsondecode(aws_sns_topic_policy.alerts.policy).Statement) == 1
    error_message = "The topic's policy must allow alarms only; stages publish by their roles."
  }

  assert {
    condition     = alltrue([for shown in ["alarm:mock", "LagSeconds", "TargetErrorCount", "SourceUnavailable", "HoursSinceVerify", "RatesMissingDays"] : strcontains(aws_cloudwatch_dashboard.flow.dashboard_body, shown)])
    error_message = "The dashboard must show all alarms, the warehouse's lag, and what alarms watch."
  }
}

run "alarms_of_a_paused_flow" {
  command = plan

  module {
    source = "./modules/watch"
  }

  variables {
    name             = "totes-test"
    environment_name = "test"
    alarm_email      = "who@example.com"
    key              = "arn:aws:kms:eu-west-2:111122223333:key/signals"
    flow_enabled     = false
    rates_enabled    = false
    verify_cron      = null
    functions        = { ingest = "the-ingest", transform = "the-transform", load = "the-load" }
    stage_alarms = {
      ingest    = { errors = "i-errors", throttles = "i-throttles", slow = "i-slow", memory = "i-memory", unavailable = "i-unavailable" }
      transform = { errors = "t-errors", throttles = "t-throttles", slow = "t-slow", memory = "t-memory" }
      load      = { errors = "l-errors", throttles = "l-throttles", slow = "l-slow", memory = "l-memory", unavailable = "l-unavailable" }
    }
    warehouse_alarms = {}
    source_alarms    = {}
    dashboard_alarms = {}
    iceberg_alarms   = {}
    spark_log        = null
    spark_slow_hours = 4
  }

  assert {
    condition = { for mail, alarm in aws_cloudwatch_composite_alarm.mail : mail => length(alarm.alarm_actions) + length(alarm.ok_actions) if !contains(["quarantine", "verify"], mail) } == {
      for mail in ["ingest", "transform", "load", "ingest-limits", "transform-limits", "load-limits", "throttled", "stale"] : mail => 0
    }
    error_message = "A flow that is switched off must silence the alarms that depend on it."
  }

  assert {
    condition     = alltrue([for mail in ["quarantine", "verify"] : length(aws_cloudwatch_composite_alarm.mail[mail].alarm_actions) == 1])
    error_message = "What does not depend on the flow must send its mails while it is switched off."
  }

  assert {
    condition     = length(setintersection(keys(aws_cloudwatch_composite_alarm.mail), ["rates", "unverified", "storage", "cpu", "retained-log", "dashboard"])) == 0
    error_message = "What does not exist can't have an alarm."
  }
}
