# The alarms on the data flow as a whole; each stage has its own in its module. They send nothing:
# mails.tf composes the mails. Load reports all of their metrics but one, with each call. A call that fails
# or never comes changes no alarm but idle. Periods are twice as long as load's schedule, for the reason in
# module stage.

locals {
  spark = var.spark_log != null
  spark_alarms = {
    spark-fails = {
      text      = "A Spark job ended without publishing its batch."
      metric    = "SparkFailures"
      threshold = 0
    }
    spark-slow = {
      text      = "A Spark job runs for hours."
      metric    = "SparkMinutes"
      threshold = 60 * var.spark_slow_hours
    }
    spark-busy = {
      text      = "A large batch is on Spark: the warehouse waits for it."
      metric    = "SparkMinutes"
      threshold = 0
    }
  }

  load = { service = "load", environment = var.environment_name }

  alarms = merge(
    {
      idle = {
        text       = "Load was not called for half an hour."
        namespace  = "AWS/Lambda"
        metric     = "Invocations"
        dimensions = { FunctionName = var.functions.load }
        statistic  = "Sum"
        comparison = "LessThanThreshold"
        threshold  = 1
        minutes    = 10
        periods    = 3
        missing    = "breaching"
      }
      lag = {
        # The deadline is 30 minutes: a warehouse that gets no new data is 35 to 40 minutes behind when this
        # fires. Alarms on stages that fail, or whose database is unavailable, have fired before. After a
        # pause, the first calls process what is pending before two periods are over.
        text       = "The warehouse was more than 15 minutes behind totesys for 20 minutes."
        namespace  = "totes"
        metric     = "LagSeconds"
        dimensions = local.load
        statistic  = "Minimum"
        comparison = "GreaterThanThreshold"
        threshold  = 900
        minutes    = 10
        periods    = 2
        missing    = "ignore"
      }
      quarantined = {
        text       = "Rows are in quarantine."
        namespace  = "totes"
        metric     = "QuarantinedRows"
        dimensions = local.load
        statistic  = "Maximum"
        comparison = "GreaterThanThreshold"
        threshold  = 0
        minutes    = 10
        periods    = 1
        missing    = "ignore"
      }
      differs = {
        text       = "The last verify found a difference."
        namespace  = "totes"
        metric     = "VerifyDiffers"
        dimensions = local.load
        statistic  = "Maximum"
        comparison = "GreaterThanThreshold"
        threshold  = 0
        minutes    = 10
        periods    = 1
        missing    = "ignore"
      }
    },
    var.rates_enabled ? {
      rates = {
        # The rates in the warehouse, so it does not matter why there are no newer ones. After a Friday's
        # it fires on Wednesday afternoon, five days after them. Holidays are not missing. A new deployment has
        # the package's rates until the first fetch, which is a day later at most.
        text       = "The exchange rates of two days were missing for 26 hours."
        namespace  = "totes"
        metric     = "RatesMissingDays"
        dimensions = local.load
        statistic  = "Minimum"
        comparison = "GreaterThanThreshold"
        threshold  = 1
        minutes    = 2 * 60
        periods    = 13
        missing    = "ignore"
      }
    } : {},
    # Transform reports them, with each call; the period is twice its longest schedule, so what fired lasts
    # for half an hour.
    { for alarm, one in local.spark_alarms : alarm => merge(one, {
      namespace  = "totes"
      dimensions = { service = "transform", environment = var.environment_name }
      statistic  = "Maximum"
      comparison = "GreaterThanThreshold"
      minutes    = 30
      periods    = 1
      missing    = "ignore"
    }) if local.spark },
    {
      for at in var.verify_cron[*] : "unverified" => {
        text       = "The warehouse was not compared with totesys for 36 hours."
        namespace  = "totes"
        metric     = "HoursSinceVerify"
        dimensions = local.load
        statistic  = "Minimum"
        comparison = "GreaterThanThreshold"
        threshold  = 36
        minutes    = 10
        periods    = 1
        missing    = "ignore"
      }
    },
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-flow-${each.key}"
  alarm_description   = each.value.text
  namespace           = each.value.namespace
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 60 * each.value.minutes
  evaluation_periods  = each.value.periods
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  treat_missing_data  = each.value.missing

  lifecycle {
    create_before_destroy = true # CloudWatch deletes no alarm that a composite one still names
  }
}
