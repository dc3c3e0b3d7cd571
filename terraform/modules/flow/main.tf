# The schedules and events that call the stages. Each call is only a hint to process all pending batches:
# a lost or repeated event has no effect, as each stage also has a schedule. So nothing is retried, and no
# queue keeps calls that failed.

data "aws_caller_identity" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id

  # The objects that call a stage when they are created, by stage.
  landings = {
    transform = {
      text   = "A batch was published in the ingestion store."
      bucket = var.buckets.ingestion
      key    = [{ prefix = "batches/" }]
    }
    load = {
      text   = "A batch, or a generation, was published in the processed store."
      bucket = var.buckets.processed
      key    = [{ suffix = ".json" }] # manifests and generations; all other objects are Parquet
    }
  }
}

# -- Schedules

resource "aws_scheduler_schedule_group" "this" {
  name = var.name
}

resource "aws_scheduler_schedule" "this" {
  #checkov:skip=CKV_AWS_297:its payload is the name of the stage, which is no secret
  for_each = var.every_minutes

  name                = "${var.name}-${each.key}"
  description         = "Process all pending batches: ${each.key}"
  group_name          = aws_scheduler_schedule_group.this.name
  schedule_expression = each.value == 1 ? "rate(1 minute)" : "rate(${each.value} minutes)"
  state               = var.enabled ? "ENABLED" : "DISABLED"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = var.functions[each.key].arn
    role_arn = aws_iam_role.scheduler.arn
    input    = jsonencode({ source = "totes.schedule", stage = each.key })

    retry_policy {
      maximum_event_age_in_seconds = 60
      maximum_retry_attempts       = 0 # the next call is due soon
    }
  }
}

resource "aws_iam_role" "scheduler" {
  name                 = "${var.name}-scheduler"
  description          = "Calls the stages by schedule."
  permissions_boundary = var.boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "scheduler" {
  name = "call"
  role = aws_iam_role.scheduler.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "InvokeStages"
        Effect   = "Allow"
        Action   = "lambda:InvokeFunction"
        Resource = [for function in values(var.functions) : function.arn]
      },
    ]
  })
}

# -- Events

resource "aws_cloudwatch_event_rule" "landed" {
  for_each = local.landings

  name        = "${var.name}-${each.key}"
  description = each.value.text
  state       = var.enabled ? "ENABLED" : "DISABLED"
  event_pattern = jsonencode({
    source      = ["aws.s3"]
    detail-type = ["Object Created"]
    detail = {
      bucket = { name = [each.value.bucket] }
      object = { key = each.value.key }
    }
  })
}

resource "aws_cloudwatch_event_target" "stage" {
  for_each = local.landings

  rule      = aws_cloudwatch_event_rule.landed[each.key].name
  target_id = each.key
  arn       = var.functions[each.key].arn

  retry_policy {
    maximum_event_age_in_seconds = 60
    maximum_retry_attempts       = 0 # the schedule does its work
  }
}

resource "aws_lambda_permission" "landed" {
  for_each = local.landings

  statement_id   = "EventBridge"
  action         = "lambda:InvokeFunction"
  function_name  = var.functions[each.key].name
  principal      = "events.amazonaws.com"
  source_arn     = aws_cloudwatch_event_rule.landed[each.key].arn
  source_account = local.account
}
