# The schedules of tasks: the nightly verify, which records its result in the warehouse, and the publishing of
# Iceberg tables, with their weekly compaction and the removal of old snapshots.

locals {
  schedules = merge(
    { for cron in var.verify_cron[*] : "verify" => {
      text    = "Compare the warehouse with totesys."
      cron    = cron
      command = ["verify"]
    } },
    merge([for cron in var.publish_cron[*] : {
      publish = {
        text    = "Publish new batches as Iceberg tables."
        cron    = cron
        command = ["publish"]
      }
      publish-compact = {
        text    = "Merge small files of the Iceberg tables."
        cron    = "40 1 ? * SUN *"
        command = ["publish", "compact"]
      }
      publish-expire = {
        text    = "Remove old snapshots of the Iceberg tables."
        cron    = "40 2 ? * SUN *"
        command = ["publish", "expire", "--older-than", "30d"]
      }
    }]...),
  )
}

resource "aws_scheduler_schedule" "this" {
  #checkov:skip=CKV_AWS_297:its payload is a command, which is no secret
  for_each = local.schedules

  name                = "${var.name}-${each.key}"
  description         = each.value.text
  group_name          = var.schedule_group
  schedule_expression = "cron(${each.value.cron})" # in UTC
  state               = var.enabled ? "ENABLED" : "DISABLED"

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_ecs_cluster.this.arn
    role_arn = aws_iam_role.scheduler[0].arn
    input    = jsonencode({ containerOverrides = [{ name = local.container, command = each.value.command }] })

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

moved {
  from = aws_scheduler_schedule.verify[0]
  to   = aws_scheduler_schedule.this["verify"]
}

resource "aws_iam_role" "scheduler" {
  count = length(local.schedules) > 0 ? 1 : 0

  name                 = "${var.name}-task-scheduler"
  description          = "Starts tasks by schedule."
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
  count = length(local.schedules) > 0 ? 1 : 0

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
