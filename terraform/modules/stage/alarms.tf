# Each alarm notifies the topic when it fires and when it ends.

locals {
  function = { FunctionName = aws_lambda_function.this.function_name }
  own      = { service = var.stage, environment = var.environment_name }

  alarms = {
    errors = {
      text       = "The function failed or timed out: see its log."
      namespace  = "AWS/Lambda"
      metric     = "Errors"
      dimensions = local.function
      statistic  = "Sum"
      above      = 0
      periods    = 1
    }
    failures = {
      text       = "The stage failed: the message in its log shows what to do."
      namespace  = "totes"
      metric     = "Failures"
      dimensions = local.own
      statistic  = "Sum"
      above      = 0
      periods    = 1
    }
    throttles = {
      text       = "The account's or the function's concurrency is exhausted for 15 minutes."
      namespace  = "AWS/Lambda"
      metric     = "Throttles"
      dimensions = local.function
      statistic  = "Sum"
      above      = 0
      periods    = 3
    }
    duration = {
      text       = "A call took more than 80 % of its timeout: more is pending than one call can process."
      namespace  = "AWS/Lambda"
      metric     = "Duration"
      dimensions = local.function
      statistic  = "Maximum"
      above      = 0.8 * var.timeout_seconds * 1000
      periods    = 1
    }
    memory = {
      text       = "A call used more than 85 % of its memory: increase the function's memory."
      namespace  = "totes"
      metric     = local.memory_metric
      dimensions = {}
      statistic  = "Maximum"
      above      = 0.85 * var.memory_mb
      periods    = 1
    }
    failed-events = {
      text       = "Events that failed on every retry are in the queue, with the reason."
      namespace  = "AWS/SQS"
      metric     = "ApproximateNumberOfMessagesVisible"
      dimensions = { QueueName = aws_sqs_queue.failed.name }
      statistic  = "Maximum"
      above      = 0
      periods    = 1
    }
  }

  # The metric of a metric filter has no dimensions, so its name contains the function.
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
