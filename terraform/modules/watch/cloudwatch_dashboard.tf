# The CloudWatch dashboard: the mails' alarms, lag, amounts, durations, failures, and the ages that alarms
# watch.

data "aws_region" "current" {}

locals {
  stages = ["ingest", "transform", "load"]

  # The metrics of each graph, and their statistic. AWS/Scheduler counts the calls that a schedule could not
  # make, for example for a missing right.
  graphs = concat(
    [
      for graph in [
        { title = "Rows", metric = "Rows", stat = "Sum" },
        { title = "Batches", metric = "Batches", stat = "Sum" },
        { title = "Bytes", metric = "Bytes", stat = "Sum" },
        { title = "Seconds per call", metric = "DurationSeconds", stat = "Maximum" },
        { title = "Lag in seconds", metric = "LagSeconds", stat = "Maximum" },
        ] : merge(graph, {
          metrics = [for stage in local.stages : ["totes", graph.metric, "service", stage, "environment", var.environment_name]]
      })
    ],
    [
      for graph in [
        { title = "Failed calls", metric = "Errors", stat = "Sum" },
        { title = "Calls", metric = "Invocations", stat = "Sum" },
        { title = "Refused calls", metric = "Throttles", stat = "Sum" },
        ] : merge(graph, {
          metrics = [for stage in local.stages : ["AWS/Lambda", graph.metric, "FunctionName", var.functions[stage]]]
      })
    ],
    [
      {
        title = "Unavailable databases", stat = "Maximum"
        metrics = [
          ["totes", "SourceUnavailable", "service", "ingest", "environment", var.environment_name],
          ["totes", "WarehouseUnavailable", "service", "load", "environment", var.environment_name],
        ]
      },
      {
        title   = "Schedules that can't call", stat = "Sum"
        metrics = [["AWS/Scheduler", "TargetErrorCount", "ScheduleGroup", var.name]]
      },
      {
        title   = "Hours since the last verify", stat = "Maximum"
        metrics = [["totes", "HoursSinceVerify", "service", "load", "environment", var.environment_name]]
      },
      {
        title   = "Days without exchange rates", stat = "Maximum"
        metrics = [["totes", "RatesMissingDays", "service", "load", "environment", var.environment_name]]
      },
    ],
  )

  dashboard = {
    widgets = concat(
      [
        {
          type = "alarm", x = 0, y = 0, width = 24, height = 4
          properties = {
            title  = "Alarms that send mails"
            alarms = [for alarm in values(aws_cloudwatch_composite_alarm.mail) : alarm.arn]
          }
        },
        {
          type = "metric", x = 0, y = 4, width = 16, height = 6
          properties = {
            title       = "Lag of the warehouse behind totesys, in seconds"
            region      = data.aws_region.current.name
            stat        = "Maximum"
            period      = 300
            metrics     = [["totes", "LagSeconds", "service", "load", "environment", var.environment_name]]
            annotations = { horizontal = [{ label = "the deadline", value = 1800 }] }
          }
        },
        {
          type = "metric", x = 16, y = 4, width = 8, height = 6
          properties = {
            title   = "Rows in quarantine"
            region  = data.aws_region.current.name
            stat    = "Maximum"
            period  = 300
            metrics = [["totes", "QuarantinedRows", "service", "load", "environment", var.environment_name]]
          }
        },
      ],
      [
        for index, graph in local.graphs : {
          type = "metric", x = 8 * (index % 3), y = 10 + 6 * floor(index / 3), width = 8, height = 6
          properties = {
            title   = graph.title
            region  = data.aws_region.current.name
            stat    = graph.stat
            period  = 300
            metrics = graph.metrics
          }
        }
      ],
    )
  }
}

resource "aws_cloudwatch_dashboard" "flow" {
  dashboard_name = var.name
  dashboard_body = jsonencode(local.dashboard)
}
