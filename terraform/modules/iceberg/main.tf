# The star as Iceberg tables, for Athena and other engines: a database of Glue, a bucket, and what the task
# that publishes may do there. Iceberg replaces and removes files, which the lake's stores deny: hence the bucket.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account  = data.aws_caller_identity.current.account_id
  database = "totes_${replace(var.environment, "-", "_")}_star"
  glue     = "arn:${data.aws_partition.current.partition}:glue:${data.aws_region.current.name}:${local.account}"
}

resource "aws_glue_catalog_database" "this" {
  name        = local.database
  description = "The star with its history, as Iceberg tables."
}

module "bucket" {
  source = "../bucket"

  name            = "${var.name}-iceberg-${local.account}-${data.aws_region.current.name}"
  key             = var.key
  log_to          = { bucket = var.access_logs, prefix = "iceberg/" }
  noncurrent_days = 7 # all of it can be published again
  force_destroy   = true
}

resource "aws_iam_role_policy" "publisher" {
  name = "iceberg"
  role = var.publisher_role
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "PublishTables"
        Effect = "Allow"
        Action = ["glue:CreateTable", "glue:DeleteTable", "glue:GetDatabase", "glue:GetTable", "glue:GetTables", "glue:UpdateTable"]
        Resource = [
          "${local.glue}:catalog",
          "${local.glue}:database/${local.database}",
          "${local.glue}:table/${local.database}/*",
        ]
      },
      {
        Sid      = "ListFiles"
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = [module.bucket.arn]
      },
      {
        Sid      = "WriteAndExpireFiles"
        Effect   = "Allow"
        Action   = ["s3:AbortMultipartUpload", "s3:DeleteObject", "s3:GetObject", "s3:PutObject"]
        Resource = ["${module.bucket.arn}/*"]
      },
    ]
  })
}

# -- Tasks that publish and fail: their exit code is in an event alone. A rule counts what it matches.

resource "aws_cloudwatch_event_rule" "failed" {
  name        = "${var.name}-publish-failed"
  description = "A task that publishes Iceberg tables failed."
  event_pattern = jsonencode({
    source      = ["aws.ecs"]
    detail-type = ["ECS Task State Change"]
    detail = {
      clusterArn = [var.cluster]
      lastStatus = ["STOPPED"]
      overrides  = { containerOverrides = { command = ["publish"] } }
      containers = { exitCode = [{ anything-but = 0 }] }
    }
  })
}

resource "aws_cloudwatch_metric_alarm" "this" {
  alarm_name          = "${var.name}-iceberg-fails"
  alarm_description   = "A task that publishes Iceberg tables failed."
  namespace           = "AWS/Events"
  metric_name         = "TriggeredRules"
  dimensions          = { RuleName = aws_cloudwatch_event_rule.failed.name }
  statistic           = "Sum"
  period              = 15 * 60
  evaluation_periods  = 6 # longer than an hour, after which the next task starts
  datapoints_to_alarm = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"

  lifecycle {
    create_before_destroy = true # CloudWatch deletes no alarm that a composite one still names
  }
}
