# The maximum permissions of the roles that a deployment creates. Without a boundary, whoever may create
# roles could grant them any permission.

resource "aws_iam_policy" "boundary" {
  #checkov:skip=CKV_AWS_290:a boundary grants nothing, it limits what a role can be granted
  #checkov:skip=CKV_AWS_355:network interfaces, traces and sessions have no ARN that is known beforehand
  for_each = var.environments

  name        = "totes-${each.key}-boundary"
  description = "Maximum permissions of the roles of totes-${each.key}."
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "UseOwnResources"
        Effect = "Allow"
        Action = [
          "ecr:BatchCheckLayerAvailability",
          "ecr:BatchGetImage",
          "ecr:GetDownloadUrlForLayer",
          "ecs:RunTask",
          "glue:CreateTable",
          "glue:DeleteTable",
          "glue:GetDatabase",
          "glue:GetTable",
          "glue:GetTables",
          "glue:UpdateTable",
          "s3:AbortMultipartUpload",
          "s3:BypassGovernanceRetention",
          "s3:DeleteObject",
          "s3:DeleteObjectVersion",
          "s3:GetBucketLocation",
          "s3:GetObject",
          "s3:GetObjectVersion",
          "s3:ListBucket",
          "s3:ListBucketMultipartUploads",
          "s3:ListBucketVersions",
          "s3:ListMultipartUploadParts",
          "s3:PutObject",
          "secretsmanager:GetSecretValue",
          "sns:Publish",
          "lambda:InvokeFunction",
          "logs:CreateLogStream",
          "logs:DescribeLogStreams",
          "logs:PutLogEvents",
        ]
        Resource = local.own[each.key]
      },
      {
        Sid       = "UseOwnKeys"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = "arn:${local.partition}:kms:*:${local.account}:key/*"
        Condition = { StringEquals = { "aws:ResourceTag/Environment" = each.key } }
      },
      {
        Sid    = "UseNetworkRegistryTracesAndSessions"
        Effect = "Allow"
        Action = [
          "ec2:AssignPrivateIpAddresses",
          "ec2:CreateNetworkInterface",
          "ec2:DeleteNetworkInterface",
          "ec2:DescribeNetworkInterfaces",
          "ec2:DescribeSubnets",
          "ec2:UnassignPrivateIpAddresses",
          "ecr:GetAuthorizationToken",
          "logs:DescribeLogGroups",
          "ssm:UpdateInstanceInformation",
          "ssmmessages:CreateControlChannel",
          "ssmmessages:CreateDataChannel",
          "ssmmessages:OpenControlChannel",
          "ssmmessages:OpenDataChannel",
          "xray:PutTelemetryRecords",
          "xray:PutTraceSegments",
        ]
        Resource = "*"
      },
      {
        Sid      = "StartOwnTasks"
        Effect   = "Allow"
        Action   = "iam:PassRole"
        Resource = local.task_roles[each.key]
        Condition = {
          ArnEquals    = { "aws:PrincipalArn" = "${local.role_prefixes[each.key]}-task-scheduler" }
          StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" }
        }
      },
      {
        # An application's ARN has a random id.
        Sid       = "RunOwnSparkJobs"
        Effect    = "Allow"
        Action    = ["emr-serverless:ListJobRuns", "emr-serverless:StartJobRun"]
        Resource  = "arn:${local.partition}:emr-serverless:*:${local.account}:/applications/*"
        Condition = { StringEquals = { "aws:ResourceTag/Environment" = each.key } }
      },
      {
        Sid      = "StartOwnSparkJobs"
        Effect   = "Allow"
        Action   = "iam:PassRole"
        Resource = "${local.role_prefixes[each.key]}-spark"
        Condition = {
          ArnEquals    = { "aws:PrincipalArn" = "${local.role_prefixes[each.key]}-transform" }
          StringEquals = { "iam:PassedToService" = "emr-serverless.amazonaws.com" }
        }
      },
      {
        # RDS chooses the name of the master's secret, and a tag names its instance.
        Sid      = "ReadWarehouseMaster"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = "arn:${local.partition}:secretsmanager:*:${local.account}:secret:rds!db-*"
        Condition = {
          ArnEquals = { "aws:PrincipalArn" = "${local.role_prefixes[each.key]}-warehouse-creation" }
          ArnLike   = { "aws:ResourceTag/aws:rds:primaryDBInstanceArn" = "arn:${local.partition}:rds:*:${local.account}:db:totes-${each.key}" }
        }
      },
      {
        Sid       = "StoreLogins"
        Effect    = "Allow"
        Action    = "secretsmanager:PutSecretValue"
        Resource  = "arn:${local.partition}:secretsmanager:*:${local.account}:secret:totes-${each.key}/*"
        Condition = { ArnEquals = { "aws:PrincipalArn" = "${local.role_prefixes[each.key]}-warehouse-creation" } }
      },
      {
        Sid      = "WriteRdsMetrics"
        Effect   = "Allow"
        Action   = ["logs:CreateLogGroup", "logs:PutRetentionPolicy", "logs:CreateLogStream", "logs:DescribeLogStreams", "logs:GetLogEvents", "logs:PutLogEvents"]
        Resource = "arn:${local.partition}:logs:*:${local.account}:log-group:RDS*"
      },
    ]
  })
}

locals {
  role_prefixes = { for environment in var.environments : environment => "arn:${local.partition}:iam::${local.account}:role/totes-${environment}" }

  # The roles of the task that the scheduler starts.
  task_roles = { for environment, prefix in local.role_prefixes : environment => ["${prefix}-task", "${prefix}-task-execution"] }

  # All named resources of an environment, by service.
  own = {
    for environment in var.environments : environment => concat(
      [
        "arn:${local.partition}:s3:::totes-${environment}-*",
        "arn:${local.partition}:iam::${local.account}:role/totes-${environment}-*",
        "arn:${local.partition}:iam::${local.account}:policy/totes-${environment}-*",
      ],
      [
        for thing in [
          "athena:*:ACCOUNT:workgroup/totes-ENV",
          "budgets::ACCOUNT:budget/totes-ENV-*",
          "cloudtrail:*:ACCOUNT:trail/totes-ENV",
          "cloudwatch:*:ACCOUNT:alarm:totes-ENV-*",
          "ecr:*:ACCOUNT:repository/totes-ENV",
          "ecs:*:ACCOUNT:cluster/totes-ENV",
          "ecs:*:ACCOUNT:service/totes-ENV/*",
          "ecs:*:ACCOUNT:task-definition/totes-ENV-*",
          "ecs:*:ACCOUNT:task/totes-ENV/*",
          "elasticloadbalancing:*:ACCOUNT:listener/app/totes-ENV/*",
          "elasticloadbalancing:*:ACCOUNT:loadbalancer/app/totes-ENV/*",
          "elasticloadbalancing:*:ACCOUNT:targetgroup/totes-ENV/*",
          "events:*:ACCOUNT:rule/totes-ENV-*",
          "glue:*:ACCOUNT:catalog",
          "glue:*:ACCOUNT:database/totes_ENV_*",
          "glue:*:ACCOUNT:table/totes_ENV_*",
          "lambda:*:ACCOUNT:function:totes-ENV-*",
          "logs:*:ACCOUNT:log-group:/aws/ecs/totes-ENV-*",
          "logs:*:ACCOUNT:log-group:/aws/emr-serverless/totes-ENV-*",
          "logs:*:ACCOUNT:log-group:/aws/lambda/totes-ENV-*",
          "logs:*:ACCOUNT:log-group:/aws/rds/instance/totes-ENV/*",
          "logs:*:ACCOUNT:log-group:/aws/vpc/totes-ENV*",
          "logs:*:ACCOUNT:log-group:aws-waf-logs-totes-ENV",
          "logs:*:ACCOUNT:log-group:aws-waf-logs-totes-ENV:*",
          "rds:*:ACCOUNT:db:totes-ENV",
          "rds:*:ACCOUNT:pg:totes-ENV-*",
          "rds:*:ACCOUNT:snapshot:totes-ENV-*",
          "rds:*:ACCOUNT:subgrp:totes-ENV",
          "scheduler:*:ACCOUNT:schedule-group/totes-ENV",
          "scheduler:*:ACCOUNT:schedule/totes-ENV/*",
          "secretsmanager:*:ACCOUNT:secret:totes-ENV/*",
          "sns:*:ACCOUNT:totes-ENV-*",
          "wafv2:*:ACCOUNT:regional/webacl/totes-ENV/*",
        ] : "arn:${local.partition}:${replace(replace(thing, "ACCOUNT", local.account), "ENV", environment)}"
      ],
      ["arn:${local.partition}:cloudwatch::${local.account}:dashboard/totes-${environment}"],
    )
  }
}
