# The alarms of one stage. They send nothing: module watch composes the mails from them.
#
# A period is twice as long as the schedule's, so that each has a call: CloudWatch evaluates each minute the
# periods before it, and would judge by older ones if some had no data. What has fired lasts until there was
# nothing for three periods. So failures now and then are one incident, and the warehouse has caught up
# before it ends.

locals {
  function = { FunctionName = aws_lambda_function.this.function_name }
  own      = { service = var.stage, environment = var.environment_name }

  minutes = 2 * max(5, var.every_minutes)

  alarms = merge(
    {
      errors = {
        # Lambda reports a call with the time of its start, when it has ended: at a timeout, 15 minutes
        # later. Three periods are longer.
        text       = "A call failed, or was killed for its time or memory."
        namespace  = "AWS/Lambda"
        metric     = "Errors"
        dimensions = local.function
        statistic  = "Sum"
        above      = 0
        points     = 1
        periods    = 3
      }
      throttles = {
        text       = "Lambda refuses calls: the concurrency of the account or the function is used up."
        namespace  = "AWS/Lambda"
        metric     = "Throttles"
        dimensions = local.function
        statistic  = "Sum"
        above      = 0
        points     = 2
        periods    = 3
      }
      slow = {
        # Not Lambda's metric: this one has the time of the call's end.
        text       = "A call took more than 80 % of its timeout."
        namespace  = "totes"
        metric     = "DurationSeconds"
        dimensions = local.own
        statistic  = "Maximum"
        above      = 0.8 * local.timeout_seconds
        points     = 1
        periods    = 3
      }
      memory = {
        # In two periods: after a kill, errors fires before it, and ends after it.
        text       = "Calls used more than 85 % of their memory."
        namespace  = "totes"
        metric     = local.memory_metric
        dimensions = {}
        statistic  = "Maximum"
        above      = 0.85 * var.memory_mb
        points     = 2
        periods    = 2
      }
    },
    {
      for metric in var.unavailable_metric[*] : "unavailable" => {
        # A restart is no incident: for a quarter of an hour, or two calls if they are rarer.
        text       = "The database of this stage is unavailable."
        namespace  = "totes"
        metric     = metric
        dimensions = local.own
        statistic  = "Minimum" # all calls of a period
        above      = 0
        points     = var.every_minutes > 5 ? 1 : 2
        periods    = 3
      }
    },
  )

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
  period              = 60 * local.minutes
  datapoints_to_alarm = each.value.points
  evaluation_periods  = each.value.periods
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.above
  treat_missing_data  = "notBreaching"

  lifecycle {
    create_before_destroy = true # CloudWatch deletes no alarm that a composite one still names
  }
}
