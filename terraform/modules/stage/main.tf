# One stage: a function that processes all pending batches, its role with the permissions that the stage
# needs, its log, and its alarms.

data "aws_partition" "current" {}

locals {
  name = "${var.name}-${var.stage}"

  timeout_seconds = 900 # the longest; the stage stops between batches before that

  environment = merge(var.environment, {
    ENVIRONMENT                  = var.environment_name
    TOTES_ALERT_TOPIC            = var.alert_topic
    TOTES_MEMORY                 = "${floor(0.6 * var.memory_mb)}MB" # the rest is for the runtime
    POWERTOOLS_SERVICE_NAME      = var.stage
    POWERTOOLS_METRICS_NAMESPACE = "totes"
    POWERTOOLS_LOG_LEVEL         = "INFO"
  })
}

# -- Permissions

module "permissions" {
  source = "../permissions"

  listable_buckets  = var.listable_buckets
  readable_objects  = var.readable_objects
  creatable_objects = var.creatable_objects
  secrets           = compact([var.secret])
  alert_topic       = var.alert_topic
  keys              = var.keys
}

resource "aws_iam_role" "this" {
  name                 = local.name
  description          = "Permissions of the stage ${var.stage}."
  permissions_boundary = var.boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  #checkov:skip=CKV_AWS_355:traces and network interfaces have no ARN that is known beforehand
  #checkov:skip=CKV_AWS_290:as above; the function's own code is denied the network's actions
  name = "stage"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      module.permissions.statements,
      [
        {
          Sid      = "WriteLogs"
          Effect   = "Allow"
          Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
          Resource = "${aws_cloudwatch_log_group.this.arn}:*"
        },
      ],
      [for spark in var.spark[*] : {
        Sid      = "RunSparkJobs"
        Effect   = "Allow"
        Action   = ["emr-serverless:ListJobRuns", "emr-serverless:StartJobRun"]
        Resource = [spark.application]
      }],
      [for spark in var.spark[*] : {
        Sid       = "PassSparkRole"
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = [spark.role]
        Condition = { StringEquals = { "iam:PassedToService" = "emr-serverless.amazonaws.com" } }
      }],
      var.tracing ? [{
        Sid      = "WriteTraces"
        Effect   = "Allow"
        Action   = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
        Resource = "*"
      }] : [],
      [for network in var.network[*] : {
        Sid    = "ManageNetworkInterfaces"
        Effect = "Allow"
        Action = [
          "ec2:CreateNetworkInterface",
          "ec2:DescribeNetworkInterfaces",
          "ec2:DescribeSubnets",
          "ec2:DeleteNetworkInterface",
          "ec2:AssignPrivateIpAddresses",
          "ec2:UnassignPrivateIpAddresses",
        ]
        Resource = "*"
      }],
      [for network in var.network[*] : {
        # Lambda itself attaches the function to the network with this role; the code may not.
        Sid       = "DenyNetworkChangesByCode"
        Effect    = "Deny"
        Action    = ["ec2:*"]
        Resource  = "*"
        Condition = { ArnEquals = { "lambda:SourceFunctionArn" = local.function_arn } }
      }],
    )
  })
}

data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

locals {
  function_arn = "arn:${data.aws_partition.current.partition}:lambda:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}:function:${local.name}"
}

# -- Function

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${local.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.keys.signals
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_115:new accounts have little concurrency to reserve; concurrent calls are harmless, and a variable sets it
  #checkov:skip=CKV_AWS_116:a failed event has no effect: the schedule's next call does its work
  #checkov:skip=CKV_AWS_272:the bundle is identified by its digest, in its key and in source_code_hash
  function_name    = local.name
  description      = "totes: ${var.stage}, all pending batches"
  role             = aws_iam_role.this.arn
  handler          = "totes.aws.handlers.${var.stage}"
  runtime          = "python3.12"
  architectures    = ["x86_64"]
  s3_bucket        = var.bundle.bucket
  s3_key           = var.bundle.key
  source_code_hash = var.bundle.hash

  timeout                        = local.timeout_seconds
  memory_size                    = var.memory_mb
  reserved_concurrent_executions = coalesce(var.reserved_concurrency, -1)
  kms_key_arn                    = var.keys.secrets

  ephemeral_storage {
    size = var.scratch_mb
  }

  environment {
    variables = local.environment
  }

  logging_config {
    log_format = "JSON" # also the report line, from which the used memory is read
    log_group  = aws_cloudwatch_log_group.this.name
  }

  tracing_config {
    mode = var.tracing ? "Active" : "PassThrough"
  }

  dynamic "vpc_config" {
    for_each = var.network[*]

    content {
      subnet_ids         = vpc_config.value.subnets
      security_group_ids = [vpc_config.value.security_group]
    }
  }

  depends_on = [aws_iam_role_policy.this] # else its first call may come before its permissions
}

# -- No retries: the schedule's next call processes what is pending

resource "aws_lambda_function_event_invoke_config" "this" {
  function_name                = aws_lambda_function.this.function_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 300 # of an event that waits for concurrency
}
