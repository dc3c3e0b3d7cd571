# The alarms on the data flow as a whole. Each stage has alarms of its own in its module.

locals {
  load = { service = "load", environment = var.environment_name }

  # The deadline is 30 minutes. Load reports the lag on each run, so one metric is enough for an alarm;
  # a missing metric raises an alarm after the same time.
  alarms = merge(
    {
      stale = {
        text       = "The warehouse is more than 30 minutes behind totesys."
        namespace  = "totes"
        metric     = "LagSeconds"
        dimensions = local.load
        above      = 1800
        periods    = 1
        silence    = "ignore"
      }
      silent = {
        text       = "Load has not reported the warehouse's lag for 30 minutes: it does not run."
        namespace  = "totes"
        metric     = "LagSeconds"
        dimensions = local.load
        above      = 1800
        periods    = 6
        silence    = "breaching"
      }
      quarantine = {
        text       = "Rows are in quarantine: `totes quarantine show` lists them with their reasons."
        namespace  = "totes"
        metric     = "QuarantinedRows"
        dimensions = local.load
        above      = 0
        periods    = 1
        silence    = "ignore"
      }
    },
    {
      for queue, name in var.queues : "${queue}-not-empty" => {
        text       = "Undelivered calls are in the queue ${name}."
        namespace  = "AWS/SQS"
        metric     = "ApproximateNumberOfMessagesVisible"
        dimensions = { QueueName = name }
        above      = 0
        periods    = 1
        silence    = "notBreaching"
      }
    },
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.text
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = each.value.periods
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  treat_missing_data  = each.value.silence
  alarm_actions       = [aws_sns_topic.alerts.arn]
  ok_actions          = [aws_sns_topic.alerts.arn]
}
