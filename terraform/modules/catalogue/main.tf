# Athena on both stores: a workgroup with a cost limit, a bucket for results, and a policy for analysts.

resource "aws_athena_workgroup" "this" {
  name          = "totes-${var.environment}"
  description   = "Queries on the lake of Terrific Totes."
  force_destroy = true # the history of queries is not worth keeping

  configuration {
    enforce_workgroup_configuration    = true
    publish_cloudwatch_metrics_enabled = true
    bytes_scanned_cutoff_per_query     = var.bytes_scanned_cutoff

    engine_version {
      selected_engine_version = "Athena engine version 3"
    }

    result_configuration {
      output_location = "s3://${aws_s3_bucket.results.bucket}/"

      encryption_configuration {
        encryption_option = "SSE_KMS"
        kms_key_arn       = var.kms_key_arn
      }
    }
  }
}

resource "aws_s3_bucket" "results" {
  #checkov:skip=CKV_AWS_18:results expire after a few days, and CloudTrail logs the queries
  #checkov:skip=CKV_AWS_21:results can be computed again
  #checkov:skip=CKV_AWS_144:results can be computed again
  #checkov:skip=CKV2_AWS_62:no service needs these events
  bucket        = var.results_bucket
  force_destroy = true
}

resource "aws_s3_bucket_public_access_block" "results" {
  bucket = aws_s3_bucket.results.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "results" {
  bucket = aws_s3_bucket.results.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "results" {
  bucket = aws_s3_bucket.results.id

  rule {
    id     = "forget"
    status = "Enabled"

    filter {}

    expiration {
      days = var.results_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 1
    }
  }
}

data "aws_iam_policy_document" "results" {
  statement {
    sid       = "TlsOnly"
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.results.arn, "${aws_s3_bucket.results.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "results" {
  bucket = aws_s3_bucket.results.id
  policy = data.aws_iam_policy_document.results.json

  depends_on = [aws_s3_bucket_public_access_block.results]
}

# Permissions for analysts. Attach the policy to their role only: the lake contains personal data.
data "aws_partition" "current" {}
data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

locals {
  glue = "arn:${data.aws_partition.current.partition}:glue:${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"
}

data "aws_iam_policy_document" "analyst" {
  statement {
    sid = "RunQueries"
    actions = [
      "athena:BatchGetNamedQuery",
      "athena:BatchGetQueryExecution",
      "athena:GetNamedQuery",
      "athena:GetQueryExecution",
      "athena:GetQueryResults",
      "athena:GetWorkGroup",
      "athena:ListNamedQueries",
      "athena:ListQueryExecutions",
      "athena:StartQueryExecution",
      "athena:StopQueryExecution",
    ]
    resources = [aws_athena_workgroup.this.arn]
  }

  statement {
    sid     = "ReadCatalogue"
    actions = ["glue:GetDatabase", "glue:GetDatabases", "glue:GetPartition", "glue:GetPartitions", "glue:GetTable", "glue:GetTables"]
    resources = flatten([
      "${local.glue}:catalog",
      [for database in [aws_glue_catalog_database.ingestion.name, aws_glue_catalog_database.processed.name] : [
        "${local.glue}:database/${database}",
        "${local.glue}:table/${database}/*",
      ]],
    ])
  }

  statement {
    sid     = "ReadLake"
    actions = ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"]
    resources = flatten([for bucket in [var.ingestion_bucket, var.processed_bucket] : [
      "arn:${data.aws_partition.current.partition}:s3:::${bucket}",
      "arn:${data.aws_partition.current.partition}:s3:::${bucket}/*",
    ]])
  }

  statement {
    sid       = "WriteResults"
    actions   = ["s3:AbortMultipartUpload", "s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket", "s3:ListMultipartUploadParts", "s3:PutObject"]
    resources = [aws_s3_bucket.results.arn, "${aws_s3_bucket.results.arn}/*"]
  }

  statement {
    sid       = "UseKey"
    actions   = ["kms:Decrypt", "kms:GenerateDataKey"]
    resources = [var.kms_key_arn]
  }
}

resource "aws_iam_policy" "analyst" {
  name        = "totes-${var.environment}-analyst"
  description = "Read-only queries on the lake through Athena."
  policy      = data.aws_iam_policy_document.analyst.json
}
