# A function that fetches the ECB's exchange rates daily into the ingestion store, where ingest reads them.
# It runs outside of the platform's network, which has no route to the internet, without a login, and may
# create objects below one prefix.

data "aws_caller_identity" "current" {}

locals {
  name = "${var.name}-rates"

  environment = {
    TOTES_INGESTION_URL = "s3://${var.bucket.name}"
    TOTES_RATES_URL     = var.url
  }
}

# -- Permissions

resource "aws_iam_role" "this" {
  name                 = local.name
  description          = "Permissions of the function that stores exchange rates."
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
  name = "rates"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.this.arn}:*"
      },
      {
        Sid      = "CreateRates"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = "${var.bucket.arn}/rates/*"
      },
      {
        Sid      = "EncryptRates"
        Effect   = "Allow"
        Action   = ["kms:GenerateDataKey"]
        Resource = var.keys.data
      },
      {
        Sid      = "DecryptSettings"
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = var.keys.signals
      },
    ]
  })
}

# -- Function

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/lambda/${local.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.keys.signals
}

resource "aws_lambda_function" "this" {
  #checkov:skip=CKV_AWS_50:it makes two requests a day, which its log shows
  #checkov:skip=CKV_AWS_115:new accounts have little concurrency to reserve; it is called twice a day
  #checkov:skip=CKV_AWS_116:a failed event has no effect: the schedule's next call does its work
  #checkov:skip=CKV_AWS_117:it needs the internet, which the platform's network does not reach
  #checkov:skip=CKV_AWS_272:the bundle is identified by its digest, in its key and in source_code_hash
  function_name    = local.name
  description      = "totes: store the ECB's exchange rates"
  role             = aws_iam_role.this.arn
  handler          = "totes.aws.rates.handler"
  runtime          = "python3.12"
  architectures    = ["x86_64"]
  s3_bucket        = var.bundle.bucket
  s3_key           = var.bundle.key
  source_code_hash = var.bundle.hash

  timeout     = 120 # twice 10 s for the ECB's file, and some attempts to store it
  memory_size = 512
  kms_key_arn = var.keys.signals # no setting is secret

  environment {
    variables = local.environment
  }

  logging_config {
    log_format = "JSON"
    log_group  = aws_cloudwatch_log_group.this.name
  }

  depends_on = [aws_iam_role_policy.this] # else its first call may come before its permissions
}

resource "aws_lambda_function_event_invoke_config" "this" {
  function_name                = aws_lambda_function.this.function_name
  maximum_retry_attempts       = 0
  maximum_event_age_in_seconds = 300
}

# -- Schedule: the ECB publishes at about 16:00 in Frankfurt, which is 14:00 or 15:00 UTC; a second call is
# for a day on which it is late, or was unavailable

resource "aws_scheduler_schedule" "this" {
  #checkov:skip=CKV_AWS_297:its payload is empty
  name                = local.name
  description         = "Store the ECB's exchange rates of the day."
  group_name          = var.schedule_group
  schedule_expression = "cron(30 15,18 * * ? *)" # UTC

  flexible_time_window {
    mode = "OFF"
  }

  target {
    arn      = aws_lambda_function.this.arn
    role_arn = aws_iam_role.scheduler.arn
    input    = jsonencode({})

    retry_policy {
      maximum_event_age_in_seconds = 60
      maximum_retry_attempts       = 0
    }
  }
}

resource "aws_iam_role" "scheduler" {
  name                 = "${local.name}-scheduler"
  description          = "Calls the function that stores exchange rates by schedule."
  permissions_boundary = var.boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "scheduler" {
  name = "call"
  role = aws_iam_role.scheduler.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "InvokeFunction"
      Effect   = "Allow"
      Action   = "lambda:InvokeFunction"
      Resource = aws_lambda_function.this.arn
    }]
  })
}
