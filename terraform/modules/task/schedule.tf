# The nightly verify, which records its result in the warehouse.

resource "aws_scheduler_schedule" "verify" {
  #checkov:skip=CKV_AWS_297:its payload is a command, which is no secret
  count = var.verify_cron == null ? 0 : 1

  name                = "${var.name}-verify"
  description         = "Compare the warehouse with totesys."
  group_name          = var.schedule_group
  schedule_expression = "cron(${var.verify_cron})" # in UTC
  state               = var.enabled ? "ENABLED" : "DISABLED"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_ecs_cluster.this.arn
    role_arn = aws_iam_role.scheduler[0].arn
    input    = jsonencode({ containerOverrides = [{ name = local.container, command = ["verify"] }] })

    ecs_parameters {
      task_definition_arn = aws_ecs_task_definition.this["task"].arn
      launch_type         = "FARGATE"

      network_configuration {
        subnets          = var.network.subnets
        security_groups  = [var.network.security_group]
        assign_public_ip = false
      }
    }

    retry_policy {
      maximum_event_age_in_seconds = 3600
      maximum_retry_attempts       = 3
    }
  }
}

resource "aws_iam_role" "scheduler" {
  count = var.verify_cron == null ? 0 : 1

  name                 = "${var.name}-task-scheduler"
  description          = "Starts the nightly verify."
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
  count = var.verify_cron == null ? 0 : 1

  name = "run"
  role = aws_iam_role.scheduler[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "RunTask"
        Effect    = "Allow"
        Action    = ["ecs:RunTask"]
        Resource  = ["${aws_ecs_task_definition.this["task"].arn_without_revision}:*"]
        Condition = { ArnEquals = { "ecs:cluster" = aws_ecs_cluster.this.arn } }
      },
      {
        Sid       = "PassRoles"
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = [aws_iam_role.task.arn, aws_iam_role.execution.arn]
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
    ]
  })
}
