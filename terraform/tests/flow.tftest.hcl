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
    key           = "arn:aws:kms:eu-west-2:111122223333:key/signals"
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
    condition = alltrue([for schedule in aws_scheduler_schedule.this :
      schedule.target[0].dead_letter_config[0].arn == aws_sqs_queue.undelivered.arn && schedule.target[0].retry_policy[0].maximum_retry_attempts == 3
    ])
    error_message = "A failed scheduled call must be retried, then sent to the dead-letter queue."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.scheduler.policy).Statement[0] == {
      Sid      = "InvokeStages"
      Effect   = "Allow"
      Action   = "lambda:InvokeFunction"
      Resource = [var.functions.ingest.arn, var.functions.load.arn, var.functions.transform.arn]
    }
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
    condition = alltrue([for stage, target in aws_cloudwatch_event_target.stage :
      target.arn == var.functions[stage].arn && target.dead_letter_config[0].arn == aws_sqs_queue.undelivered.arn
    ])
    error_message = "An event must call its stage, or go to the dead-letter queue."
  }

  assert {
    condition = alltrue([for stage, permission in aws_lambda_permission.landed :
      permission.function_name == stage && permission.principal == "events.amazonaws.com" && permission.source_arn == aws_cloudwatch_event_rule.landed[stage].arn
    ])
    error_message = "Only its own rule must be allowed to call a function."
  }

  assert {
    condition     = aws_sqs_queue.undelivered.kms_master_key_id == var.key
    error_message = "Undelivered events must be encrypted."
  }

  assert {
    condition = jsondecode(aws_sqs_queue_policy.undelivered.policy).Statement == [{
      Sid       = "AllowRules"
      Effect    = "Allow"
      Principal = { Service = "events.amazonaws.com" }
      Action    = "sqs:SendMessage"
      Resource  = aws_sqs_queue.undelivered.arn
      Condition = { ArnEquals = { "aws:SourceArn" = [for rule in values(aws_cloudwatch_event_rule.landed) : rule.arn] } }
    }] && aws_sqs_queue_policy.undelivered.queue_url == aws_sqs_queue.undelivered.id
    error_message = "Only the rules may send to the queue of undelivered events."
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
    key           = "arn:aws:kms:eu-west-2:111122223333:key/signals"
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
    queues           = { undelivered = "the-queue" }
    alarms           = ["arn:aws:cloudwatch:eu-west-2:111122223333:alarm:another"]
  }

  assert {
    condition     = aws_sns_topic.alerts.kms_master_key_id == var.key && aws_sns_topic_subscription.email.endpoint == "who@example.com" && aws_sns_topic_subscription.email.protocol == "email"
    error_message = "The topic must have a subscription and be encrypted."
  }

  # metric, dimensions, threshold, periods of five minutes, treatment of missing data
  assert {
    condition = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => "${alarm.metric_name} ${jsonencode(alarm.dimensions)} ${alarm.threshold} ${alarm.evaluation_periods} ${alarm.treat_missing_data}" } == {
      stale                 = "LagSeconds {\"environment\":\"test\",\"service\":\"load\"} 1800 1 ignore"
      silent                = "LagSeconds {\"environment\":\"test\",\"service\":\"load\"} 1800 6 breaching"
      quarantine            = "QuarantinedRows {\"environment\":\"test\",\"service\":\"load\"} 0 1 ignore"
      undelivered-not-empty = "ApproximateNumberOfMessagesVisible {\"QueueName\":\"the-queue\"} 0 1 notBreaching"
    }
    error_message = "An alarm is missing or watches the wrong metric."
  }

  assert {
    condition = alltrue([for alarm in aws_cloudwatch_metric_alarm.this :
      alarm.period == 300 && alarm.statistic == "Maximum" && alarm.comparison_operator == "GreaterThanThreshold" &&
      alarm.alarm_actions == toset([aws_sns_topic.alerts.arn]) && alarm.ok_actions == toset([aws_sns_topic.alerts.arn])
    ])
    error_message = "An alarm must notify the topic when it fires and when it ends."
  }

  assert {
    condition     = jsondecode(aws_sns_topic_policy.alerts.policy).Statement[0].Principal == { Service = "cloudwatch.amazonaws.com" } && length(jsondecode(aws_sns_topic_policy.alerts.policy).Statement) == 1
    error_message = "The topic's policy must allow alarms only; stages publish by their roles."
  }

  assert {
    condition     = strcontains(aws_cloudwatch_dashboard.flow.dashboard_body, "alarm:another") && strcontains(aws_cloudwatch_dashboard.flow.dashboard_body, "LagSeconds")
    error_message = "The dashboard must show all alarms and the warehouse's lag."
  }
}
