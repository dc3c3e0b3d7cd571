# Each alarm tells the topic when it begins and when it is over.

locals {
  function = { FunctionName = aws_lambda_function.this.function_name }
  own      = { service = var.stage, environment = var.environment_name }

  alarms = {
    errors = {
      text       = "The function ended with an error, or didn't end: its log says why."
      namespace  = "AWS/Lambda"
      metric     = "Errors"
      dimensions = local.function
      statistic  = "Sum"
      above      = 0
      periods    = 1
    }
    failures = {
      text       = "The stage failed: the message in its log says what to do."
      namespace  = "totes"
      metric     = "Failures"
      dimensions = local.own
      statistic  = "Sum"
      above      = 0
      periods    = 1
    }
    throttles = {
      text       = "The account's or the function's concurrency is used up, for a quarter of an hour."
      namespace  = "AWS/Lambda"
      metric     = "Throttles"
      dimensions = local.function
      statistic  = "Sum"
      above      = 0
      periods    = 3
    }
    duration = {
      text       = "A call took more than 80 % of its time: what was pending is more than one call can do."
      namespace  = "AWS/Lambda"
      metric     = "Duration"
      dimensions = local.function
      statistic  = "Maximum"
      above      = 0.8 * var.timeout_seconds * 1000
      periods    = 1
    }
    memory = {
      text       = "A call used more than 85 % of its memory: give the function more."
      namespace  = "totes"
      metric     = local.memory_metric
      dimensions = {}
      statistic  = "Maximum"
      above      = 0.85 * var.memory_mb
      periods    = 1
    }
    failed-events = {
      text       = "Events that failed to the last try wait in the queue; each says why."
      namespace  = "AWS/SQS"
      metric     = "ApproximateNumberOfMessagesVisible"
      dimensions = { QueueName = aws_sqs_queue.failed.name }
      statistic  = "Maximum"
      above      = 0
      periods    = 1
    }
  }

  # A metric filter's metric has no dimensions of its own, so its name says whose it is.
  memory_metric = "MemoryUsed-${var.environment_name}-${var.stage}"
}

resource "aws_cloudwatch_log_metric_filter" "memory" {
  name           = "${local.name}-memory"
  log_group_name = aws_cloudwatch_log_group.this.name
  pattern        = "{ $.type = \"platform.report\" }"

  metric_transformation {
    namespace = "totes"
    name      = local.memory_metric
    value     = "$.record.metrics.maxMemoryUsedMB"
    unit      = "Megabytes"
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = each.value.text
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 300
  evaluation_periods  = each.value.periods
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.alert_topic]
  ok_actions          = [var.alert_topic]
}
