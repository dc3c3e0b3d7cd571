# The two stores, and beside them the bundles and the log of who read what. What a stage has written
# stays as it is: docs/guarantees.md, "Nothing written to the lake is ever changed".

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id
  suffix  = "${local.account}-${data.aws_region.current.name}"
  stores  = toset(["ingestion", "processed"])
  logged  = toset(["ingestion", "processed", "artefacts"])

  # A denial with a condition; see the variable.
  conditional = {
    tls = {
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }
    create_only = {
      Sid       = "CreateOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:PutObject"
      Condition = {
        Null         = { "s3:if-none-match" = "true" }
        Bool         = { "s3:ObjectCreationOperation" = "true" }
        ArnNotEquals = { "aws:PrincipalArn" = aws_iam_role.break_glass.arn }
      }
    }
    break_glass = {
      Sid       = "OnlyBreakGlassDeletes"
      Effect    = "Deny"
      Principal = "*"
      Action    = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
      Condition = { ArnNotEquals = { "aws:PrincipalArn" = aws_iam_role.break_glass.arn } }
    }
  }
  unconditional = {
    stages = {
      Sid       = "StagesNeverDelete"
      Effect    = "Deny"
      Principal = { AWS = sort(values(var.stage_roles)) }
      Action    = ["s3:DeleteObject", "s3:DeleteObjectVersion"]
    }
  }
}

# -- The stores

resource "aws_s3_bucket" "store" {
  #checkov:skip=CKV_AWS_144:a copy in another region is the owner's choice, and doubles the cost; docs/operations.md says how
  for_each = local.stores

  bucket        = "${var.name}-${each.key}-${local.suffix}"
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_policy" "store" {
  for_each = local.stores

  bucket = aws_s3_bucket.store[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for statement in concat(values(local.unconditional), [for one in values(local.conditional) : one if var.conditions]) :
      merge(statement, { Resource = statement.Sid == "TlsOnly" ? [
        aws_s3_bucket.store[each.key].arn, "${aws_s3_bucket.store[each.key].arn}/*"
      ] : ["${aws_s3_bucket.store[each.key].arn}/*"] })
    ]
  })

  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "store" {
  for_each = local.stores

  bucket = aws_s3_bucket.store[each.key].id

  # By size, since tables are found, never listed: a manifest is smaller than this, and so stays where
  # reading is cheapest; a smaller object would cost more there than here.
  rule {
    id     = "data-to-cheaper-storage"
    status = "Enabled"

    filter {
      object_size_greater_than = 128 * 1024
    }

    transition {
      days          = var.infrequent_after_days
      storage_class = "STANDARD_IA"
    }

    transition {
      days          = var.archive_after_days
      storage_class = "GLACIER_IR"
    }
  }

  rule {
    id     = "noncurrent-versions"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }

    expiration {
      expired_object_delete_marker = true
    }
  }

  rule {
    id     = "unfinished-uploads"
    status = "Enabled"

    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_notification" "store" {
  for_each = local.stores

  bucket      = aws_s3_bucket.store[each.key].id
  eventbridge = true
}

# -- Beside them

resource "aws_s3_bucket" "artefacts" {
  #checkov:skip=CKV_AWS_144:a bundle can be made again from its commit, byte by byte
  #checkov:skip=CKV2_AWS_62:nobody waits for a bundle
  bucket        = "${var.name}-artefacts-${local.suffix}"
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_policy" "artefacts" {
  count = var.conditions ? 1 : 0

  bucket = aws_s3_bucket.artefacts.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [merge(local.conditional.tls, {
      Resource = [aws_s3_bucket.artefacts.arn, "${aws_s3_bucket.artefacts.arn}/*"]
    })]
  })

  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "artefacts" {
  bucket = aws_s3_bucket.artefacts.id

  rule {
    id     = "old-bundles"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket" "logs" {
  #checkov:skip=CKV_AWS_18:the log of the log would be without end
  #checkov:skip=CKV_AWS_144:a log of accesses is not worth a second region
  #checkov:skip=CKV_AWS_145:S3 can't write its access log into a bucket encrypted with a KMS key of ours
  #checkov:skip=CKV2_AWS_62:nobody waits for a log
  bucket        = "${var.name}-access-logs-${local.suffix}"
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_policy" "logs" {
  bucket = aws_s3_bucket.logs.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [{
        Sid       = "S3WritesItsLog"
        Effect    = "Allow"
        Principal = { Service = "logging.s3.amazonaws.com" }
        Action    = "s3:PutObject"
        Resource  = "${aws_s3_bucket.logs.arn}/*"
        Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
      }],
      [for one in [local.conditional.tls] : merge(one, {
        Resource = [aws_s3_bucket.logs.arn, "${aws_s3_bucket.logs.arn}/*"]
      }) if var.conditions]
    )
  })

  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "logs" {
  bucket = aws_s3_bucket.logs.id

  rule {
    id     = "old-logs"
    status = "Enabled"

    filter {}

    expiration {
      days = var.log_days
    }

    noncurrent_version_expiration {
      noncurrent_days = 1
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_logging" "this" {
  for_each = local.logged

  bucket        = local.buckets[each.key].id
  target_bucket = aws_s3_bucket.logs.id
  target_prefix = "${each.key}/"

  depends_on = [aws_s3_bucket_policy.logs]
}

# -- All of them

locals {
  buckets = {
    ingestion = aws_s3_bucket.store["ingestion"]
    processed = aws_s3_bucket.store["processed"]
    artefacts = aws_s3_bucket.artefacts
    logs      = aws_s3_bucket.logs
  }
  names = toset(["ingestion", "processed", "artefacts", "logs"])
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = local.names

  bucket = local.buckets[each.key].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = local.names

  bucket = local.buckets[each.key].id

  rule {
    bucket_key_enabled = each.key != "logs"

    apply_server_side_encryption_by_default {
      sse_algorithm     = each.key == "logs" ? "AES256" : "aws:kms"
      kms_master_key_id = each.key == "logs" ? null : var.key
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each = local.names

  bucket                  = local.buckets[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.names

  bucket = local.buckets[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# -- Break glass: `totes gc --remove`, and what follows an erasure

resource "aws_iam_role" "break_glass" {
  name                 = "${var.name}-break-glass"
  description          = "Removes objects of the lake: totes gc, and old stores after totes erase."
  max_session_duration = 3600
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = length(var.break_glass_principals) > 0 ? var.break_glass_principals : ["arn:${data.aws_partition.current.partition}:iam::${local.account}:root"] }
      Action    = "sts:AssumeRole"
      Condition = { Bool = { "aws:MultiFactorAuthPresent" = "true" } }
    }]
  })
}

resource "aws_iam_role_policy" "break_glass" {
  name = "lake"
  role = aws_iam_role.break_glass.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "See"
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:ListBucketVersions", "s3:GetBucketLocation"]
        Resource = [for bucket in values(aws_s3_bucket.store) : bucket.arn]
      },
      {
        Sid      = "ReadWriteRemove"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:DeleteObject", "s3:DeleteObjectVersion", "s3:AbortMultipartUpload"]
        Resource = [for bucket in values(aws_s3_bucket.store) : "${bucket.arn}/*"]
      },
      {
        Sid      = "Decrypt"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = var.key
      },
    ]
  })
}
