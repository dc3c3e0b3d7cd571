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

resource "aws_s3_bucket_policy" "results" {
  bucket = aws_s3_bucket.results.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.results.arn, "${aws_s3_bucket.results.arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  depends_on = [aws_s3_bucket_public_access_block.results]
}

# Permissions for analysts. Attach the policy to their role only: the lake contains personal data.
data "aws_partition" "current" {}
data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

locals {
  partition = data.aws_partition.current.partition
  here      = "${data.aws_region.current.name}:${data.aws_caller_identity.current.account_id}"
  databases = {
    ingestion = aws_glue_catalog_database.ingestion.name
    processed = var.iceberg == null ? one(aws_glue_catalog_database.processed[*].name) : var.iceberg.database
  }
  stores = [for bucket in [var.ingestion_bucket, var.iceberg == null ? var.processed_bucket : var.iceberg.bucket] : "arn:${local.partition}:s3:::${bucket}"]
}

resource "aws_iam_policy" "analyst" {
  #checkov:skip=CKV_AWS_355:Athena's lists of workgroups, catalogues and engines have no ARN
  name        = "totes-${var.environment}-analyst"
  description = "Read-only queries on the lake through Athena."
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ListForTheConsole"
        Effect   = "Allow"
        Action   = ["athena:ListDataCatalogs", "athena:ListEngineVersions", "athena:ListWorkGroups"]
        Resource = "*"
      },
      {
        Sid    = "RunQueries"
        Effect = "Allow"
        Action = [
          "athena:BatchGetNamedQuery",
          "athena:BatchGetQueryExecution",
          "athena:GetNamedQuery",
          "athena:GetQueryExecution",
          "athena:GetQueryResults",
          "athena:GetQueryResultsStream",
          "athena:GetQueryRuntimeStatistics",
          "athena:GetWorkGroup",
          "athena:ListNamedQueries",
          "athena:ListQueryExecutions",
          "athena:StartQueryExecution",
          "athena:StopQueryExecution",
        ]
        Resource = aws_athena_workgroup.this.arn
      },
      {
        # The tree of databases and tables beside the console's editor.
        Sid    = "BrowseCatalogue"
        Effect = "Allow"
        Action = [
          "athena:GetDataCatalog",
          "athena:GetDatabase",
          "athena:GetTableMetadata",
          "athena:ListDatabases",
          "athena:ListTableMetadata",
        ]
        Resource = "arn:${local.partition}:athena:${local.here}:datacatalog/AwsDataCatalog"
      },
      {
        Sid    = "ReadCatalogue"
        Effect = "Allow"
        Action = ["glue:GetDatabase", "glue:GetPartition", "glue:GetPartitions", "glue:GetTable", "glue:GetTables"]
        Resource = flatten([
          "arn:${local.partition}:glue:${local.here}:catalog",
          [for database in values(local.databases) : [
            "arn:${local.partition}:glue:${local.here}:database/${database}",
            "arn:${local.partition}:glue:${local.here}:table/${database}/*",
          ]],
        ])
      },
      {
        # Athena requires it of each of its users: its guide, "Mandatory: Access Policy to the Default Database".
        Sid    = "UseDefaultDatabase"
        Effect = "Allow"
        Action = ["glue:CreateDatabase", "glue:GetDatabase"]
        Resource = [
          "arn:${local.partition}:glue:${local.here}:catalog",
          "arn:${local.partition}:glue:${local.here}:database/default",
        ]
      },
      {
        # The list is of all databases, or it is refused.
        Sid    = "ListDatabases"
        Effect = "Allow"
        Action = "glue:GetDatabases"
        Resource = [
          "arn:${local.partition}:glue:${local.here}:catalog",
          "arn:${local.partition}:glue:${local.here}:database/*",
        ]
      },
      {
        Sid      = "ReadLake"
        Effect   = "Allow"
        Action   = ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"]
        Resource = flatten([for store in local.stores : [store, "${store}/*"]])
      },
      {
        Sid      = "WriteResults"
        Effect   = "Allow"
        Action   = ["s3:AbortMultipartUpload", "s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket", "s3:ListMultipartUploadParts", "s3:PutObject"]
        Resource = [aws_s3_bucket.results.arn, "${aws_s3_bucket.results.arn}/*"]
      },
      {
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = var.kms_key_arn
      },
    ]
  })
}
