# A bucket with the settings of all buckets: encryption, versioning, no public access, TLS only, access
# logs, expiry of old versions and of incomplete uploads.

resource "aws_s3_bucket" "this" {
  #checkov:skip=CKV_AWS_144:a copy in another region is the owner's choice and doubles the cost: docs/operations.md
  #checkov:skip=CKV_AWS_145:set for all buckets but that of access logs, which S3 can't write with a KMS key
  #checkov:skip=CKV_AWS_18:set for all buckets but that of access logs, which would log itself
  #checkov:skip=CKV2_AWS_62:only the two stores need events
  bucket        = var.name
  force_destroy = var.force_destroy
}

resource "aws_s3_bucket_versioning" "this" {
  bucket = aws_s3_bucket.this.id

  versioning_configuration {
    status = "Enabled"
  }
}

# Also for a bucket that exists: object_lock_enabled of the bucket itself would replace it.
resource "aws_s3_bucket_object_lock_configuration" "this" {
  count = var.object_lock == null ? 0 : 1

  bucket = aws_s3_bucket.this.id

  rule {
    default_retention {
      mode = var.object_lock.mode
      days = var.object_lock.days
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    bucket_key_enabled = var.key != null

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.key == null ? "AES256" : "aws:kms"
      kms_master_key_id = var.key
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  bucket = aws_s3_bucket.this.id

  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "this" {
  count = length(local.statements) > 0 ? 1 : 0

  bucket = aws_s3_bucket.this.id
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = local.statements
  })

  depends_on = [aws_s3_bucket_public_access_block.this] # S3 accepts only one of them at a time
}

locals {
  objects = "${aws_s3_bucket.this.arn}/*"

  statements = concat(
    [for statement in var.statements : merge({ for element in ["Resource"] : element => local.objects if !can(statement.NotResource) }, statement)],
    [for statement in var.conditional_statements : merge({ for element in ["Resource"] : element => local.objects if !can(statement.NotResource) }, statement) if var.conditions],
    var.conditions ? [{
      Sid       = "TlsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.this.arn, local.objects]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }] : [],
  )
}

resource "aws_s3_bucket_logging" "this" {
  count = var.log_to == null ? 0 : 1

  bucket        = aws_s3_bucket.this.id
  target_bucket = var.log_to.bucket
  target_prefix = var.log_to.prefix
}

resource "aws_s3_bucket_notification" "this" {
  count = var.events ? 1 : 0

  bucket      = aws_s3_bucket.this.id
  eventbridge = true
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  bucket = aws_s3_bucket.this.id

  rule {
    id     = "clear-away"
    status = "Enabled"

    filter {}

    noncurrent_version_expiration {
      noncurrent_days = var.noncurrent_days
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 2
    }

    dynamic "expiration" {
      for_each = var.expire_days[*]

      content {
        days = expiration.value
      }
    }
  }

  # By size and not by prefix, as table names are not known here: manifests are smaller than this and
  # stay in the standard class, where reads and small objects are cheapest.
  dynamic "rule" {
    for_each = var.cheaper_storage[*]

    content {
      id     = "data-to-cheaper-storage"
      status = "Enabled"

      filter {
        object_size_greater_than = 128 * 1024
      }

      transition {
        days          = rule.value.infrequent_after_days
        storage_class = "STANDARD_IA"
      }

      transition {
        days          = rule.value.archive_after_days
        storage_class = "GLACIER_IR"
      }
    }
  }

  depends_on = [aws_s3_bucket_versioning.this]
}
