# The buckets of the two stores, of the bundles, and of the access logs. Objects of the stores are never
# changed (docs/guarantees.md), which the stores' policies enforce.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id
  root    = "arn:${data.aws_partition.current.partition}:iam::${local.account}:root"
  suffix  = "${local.account}-${data.aws_region.current.name}"
}

module "store" {
  source   = "../bucket"
  for_each = toset(["ingestion", "processed"])

  name          = "${var.name}-${each.key}-${local.suffix}"
  key           = var.key
  log_to        = { bucket = module.logs.governed, prefix = "${each.key}/" }
  events        = true
  object_lock   = var.object_lock
  force_destroy = var.force_destroy
  conditions    = var.conditions

  noncurrent_days = var.noncurrent_days
  cheaper_storage = {
    infrequent_after_days = var.infrequent_after_days
    archive_after_days    = var.archive_after_days
  }

  statements = concat(
    [{
      Sid       = "DenyDeletesByStages"
      Effect    = "Deny"
      Principal = { AWS = sort(values(var.stage_roles)) }
      Action    = local.deleting
    }],
    [for role in each.key == "processed" ? var.executor_roles : [] : {
      Sid         = "DenyDeletesBySparkElsewhere"
      Effect      = "Deny"
      Principal   = { AWS = role }
      Action      = local.deleting
      NotResource = local.attempts
    }],
  )

  conditional_statements = concat([
    {
      Sid       = "DenyDeletesExceptBreakGlass"
      Effect    = "Deny"
      Principal = "*"
      Action    = local.deleting
      Condition = { ArnNotEquals = { "aws:PrincipalArn" = local.removers[each.key] } }
    },
    {
      # S3 rejects a conditional put that would replace an object, and a put without the condition
      # is denied. Parts of an upload create no object; completing the upload does.
      Sid       = "DenyOverwrites"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:PutObject"
      Condition = {
        Null         = { "s3:if-none-match" = "true" }
        Bool         = { "s3:ObjectCreationOperation" = "true" }
        ArnNotEquals = { "aws:PrincipalArn" = local.removers[each.key] }
      }
    },
    ],
    [for role in each.key == "processed" ? var.executor_roles : [] : {
      Sid         = "DenyOverwritesBySparkElsewhere"
      Effect      = "Deny"
      Principal   = { AWS = role }
      Action      = "s3:PutObject"
      NotResource = local.attempts
      Condition = {
        Null = { "s3:if-none-match" = "true" }
        Bool = { "s3:ObjectCreationOperation" = "true" }
      }
    }],
  )
}

locals {
  deleting = ["s3:DeleteObject", "s3:DeleteObjectVersion"]

  # Spark's committers rename and remove the files of their attempts, before a manifest names any.
  attempts = "arn:${data.aws_partition.current.partition}:s3:::${var.name}-processed-${local.suffix}/${coalesce(var.attempts, "none")}"

  # Who may remove and replace objects of a store: executors only attempts.
  removers = {
    ingestion = [aws_iam_role.removal.arn]
    processed = concat([aws_iam_role.removal.arn], var.executor_roles)
  }
}

module "artefacts" {
  source = "../bucket"

  name            = "${var.name}-artefacts-${local.suffix}"
  key             = var.key
  log_to          = { bucket = module.logs.governed, prefix = "artefacts/" }
  noncurrent_days = var.noncurrent_days
  force_destroy   = var.force_destroy
  conditions      = var.conditions
}

module "logs" {
  source = "../bucket"

  name            = local.logs
  expire_days     = var.log_days
  noncurrent_days = 1
  force_destroy   = var.force_destroy
  conditions      = var.conditions

  statements = [
    {
      Sid       = "AllowAccessLogs"
      Effect    = "Allow"
      Principal = { Service = "logging.s3.amazonaws.com" }
      Action    = "s3:PutObject"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    },
    {
      # The dashboard's load balancer. Elastic Load Balancing writes those of this account below its number.
      Sid       = "AllowBalancerLogs"
      Effect    = "Allow"
      Principal = { Service = "logdelivery.elasticloadbalancing.amazonaws.com" }
      Action    = "s3:PutObject"
      Resource  = "arn:${data.aws_partition.current.partition}:s3:::${local.logs}/dashboard/AWSLogs/${local.account}/*"
    },
  ]
}

locals {
  logs = "${var.name}-access-logs-${local.suffix}"
}

# -- The removal role: `totes gc --remove`, and removing old stores after an erasure

resource "aws_iam_role" "removal" {
  name                 = "${var.name}-removal"
  description          = "Removes objects of the lake, for totes gc and after totes erase."
  max_session_duration = 3600
  permissions_boundary = var.boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = length(var.removal_principals) > 0 ? var.removal_principals : [local.root] }
      Action    = "sts:AssumeRole"
      Condition = { Bool = { "aws:MultiFactorAuthPresent" = "true" } }
    }]
  })
}

resource "aws_iam_role_policy" "removal" {
  name = "lake"
  role = aws_iam_role.removal.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ListObjects"
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketLocation"]
        Resource = [for store in values(module.store) : store.arn]
      },
      {
        Sid    = "ReadWriteAndDelete"
        Effect = "Allow"
        Action = concat(local.deleting, [
          "s3:BypassGovernanceRetention", # for object_lock; in mode COMPLIANCE no user can delete
          "s3:GetObject",
          "s3:GetObjectVersion",
          "s3:PutObject",
          "s3:AbortMultipartUpload",
        ])
        Resource = [for store in values(module.store) : "${store.arn}/*"]
      },
      {
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = var.key
      },
    ]
  })
}
