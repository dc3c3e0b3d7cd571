# The CloudWatch dashboard: lag, amounts, durations and failures.

data "aws_region" "current" {}

locals {
  stages = ["ingest", "transform", "load"]

  # Title, metric and statistic of each graph with one line per stage.
  graphs = [
    { title = "Rows", metric = "Rows", stat = "Sum" },
    { title = "Batches", metric = "Batches", stat = "Sum" },
    { title = "Bytes", metric = "Bytes", stat = "Sum" },
    { title = "Seconds per call", metric = "DurationSeconds", stat = "Maximum" },
    { title = "Failures", metric = "Failures", stat = "Sum" },
    { title = "Lag in seconds", metric = "LagSeconds", stat = "Maximum" },
  ]

  dashboard = {
    widgets = concat(
      [
        {
          type = "alarm", x = 0, y = 0, width = 24, height = 4
          properties = {
            title  = "Alarms"
            alarms = concat([for alarm in values(aws_cloudwatch_metric_alarm.this) : alarm.arn], var.alarms)
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
            metrics = [for stage in local.stages : ["totes", graph.metric, "service", stage, "environment", var.environment_name]]
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
