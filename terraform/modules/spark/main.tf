# Batches and replays that are too large for one machine: an application of EMR Serverless, and what its jobs
# run, may and log. It costs nothing while no job runs. src/totes/aws/spark_jobs.py starts the jobs.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id
  name    = "${var.name}-spark"

  # A new package gets a folder of its own, as jobs of the old one may run.
  digest  = substr(sha256(join("", [filesha256(var.package), filesha256("${path.module}/job.py")])), 0, 16)
  program = "spark/${local.digest}"

  artefacts = "arn:${data.aws_partition.current.partition}:s3:::${var.artefacts_bucket}"

  gb_per_vcpu = 4
}

resource "aws_emrserverless_application" "this" {
  name          = var.name
  release_label = var.release
  type          = "spark"
  architecture  = "ARM64" # a fifth cheaper; tools/spark_package.py builds for it

  # The limit of the cost of an hour: of all jobs together.
  maximum_capacity {
    cpu    = "${var.max_vcpu} vCPU"
    memory = "${local.gb_per_vcpu * var.max_vcpu} GB"
  }

  auto_start_configuration {
    enabled = true
  }

  auto_stop_configuration {
    enabled              = true
    idle_timeout_minutes = 1
  }

  network_configuration {
    subnet_ids         = var.network.subnets
    security_group_ids = [var.network.security_group]
  }
}

# -- What its jobs run

resource "aws_s3_object" "job" {
  bucket = var.artefacts_bucket
  key    = "${local.program}/job.py"
  source = "${path.module}/job.py"

  lifecycle {
    create_before_destroy = true # the function changes to the new one without a gap
  }
}

resource "aws_s3_object" "packages" {
  bucket = var.artefacts_bucket
  key    = "${local.program}/packages.tar.gz"
  source = var.package

  lifecycle {
    create_before_destroy = true
  }
}

# -- What they log: the name is that of the role, by which the program finds it

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/emr-serverless/${local.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.keys.signals
}

# -- What they may

resource "aws_iam_role" "this" {
  name                 = local.name
  description          = "Jobs on Spark: read the ingestion store, write generations of the processed one."
  permissions_boundary = var.boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "emr-serverless.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = "jobs"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ListObjects" # without it, S3 reports a missing object as forbidden
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
        Resource = [var.stores.ingestion, var.stores.processed]
      },
      {
        Sid      = "ReadObjects"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = ["${var.stores.ingestion}/*", "${var.stores.processed}/*", "${local.artefacts}/spark/*"]
      },
      {
        Sid      = "CreateGenerations"
        Effect   = "Allow"
        Action   = ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
        Resource = ["${var.stores.processed}/generation=*"]
      },
      {
        # Spark's committers rename and remove. Elsewhere the store's policy denies it.
        Sid      = "RemoveFromAttempts"
        Effect   = "Allow"
        Action   = ["s3:DeleteObject"]
        Resource = ["${var.stores.processed}/${var.attempts}"]
      },
      {
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = [var.keys.data]
      },
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"]
        Resource = ["${aws_cloudwatch_log_group.this.arn}:*"]
      },
      {
        Sid      = "FindLogGroup" # EMR looks for it with the job's role
        Effect   = "Allow"
        Action   = ["logs:DescribeLogGroups"]
        Resource = ["arn:${data.aws_partition.current.partition}:logs:${data.aws_region.current.name}:${local.account}:*"]
      },
    ]
  })
}
