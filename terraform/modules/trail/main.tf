# Who read, created or deleted which object of the lake: CloudTrail's data events, in a bucket of their own.
# CloudTrail keeps changes of the account itself for 90 days without a trail.

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id
  region  = data.aws_region.current.name
  arn     = "arn:${data.aws_partition.current.partition}:cloudtrail:${local.region}:${local.account}:trail/${var.name}"
  bucket  = "${var.name}-trail-${local.account}-${local.region}"
}

resource "aws_cloudtrail" "this" {
  #checkov:skip=CKV_AWS_67:the buckets are in this region
  #checkov:skip=CKV_AWS_252:files are read when somebody asks who read what, not when they arrive
  #checkov:skip=CKV2_AWS_10:as CKV_AWS_252; CloudWatch would store each event once more
  name                          = var.name
  s3_bucket_name                = module.bucket.governed
  kms_key_id                    = var.key
  enable_log_file_validation    = true
  include_global_service_events = false

  advanced_event_selector {
    name = "Objects of the lake"

    field_selector {
      field  = "eventCategory"
      equals = ["Data"]
    }

    field_selector {
      field  = "resources.type"
      equals = ["AWS::S3::Object"]
    }

    field_selector {
      field       = "resources.ARN"
      starts_with = [for arn in var.buckets : "${arn}/"]
    }
  }
}

# Encrypted with S3's key by default: the trail itself names the KMS key for its files, and with one as
# default CloudTrail would also need to decrypt.
module "bucket" {
  source = "../bucket"

  name            = local.bucket
  log_to          = { bucket = var.access_logs, prefix = "trail/" }
  expire_days     = var.log_days
  noncurrent_days = 1
  force_destroy   = var.force_destroy

  statements = [
    {
      Sid       = "AllowTrailToFindOwner"
      Effect    = "Allow"
      Principal = { Service = "cloudtrail.amazonaws.com" }
      Action    = "s3:GetBucketAcl"
      Resource  = "arn:${data.aws_partition.current.partition}:s3:::${local.bucket}"
      Condition = { StringEquals = { "aws:SourceArn" = local.arn } }
    },
    {
      Sid       = "AllowTrailToWrite"
      Effect    = "Allow"
      Principal = { Service = "cloudtrail.amazonaws.com" }
      Action    = "s3:PutObject"
      Condition = { StringEquals = {
        "aws:SourceArn" = local.arn
        "s3:x-amz-acl"  = "bucket-owner-full-control"
      } }
    },
  ]
}
