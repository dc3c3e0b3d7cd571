# The bucket of Terraform's state and its lock, which uses S3's conditional writes.

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      Project   = "totes"
      ManagedBy = "terraform"
    }
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  account   = data.aws_caller_identity.current.account_id
  partition = data.aws_partition.current.partition
  root      = "arn:${local.partition}:iam::${local.account}:root"
}

module "state" {
  source = "../modules/bucket"

  name            = coalesce(var.state_bucket, "totes-state-${local.account}-${var.region}")
  key             = aws_kms_key.state.arn
  log_to          = { bucket = module.logs.governed, prefix = "state/" }
  noncurrent_days = 365
  force_destroy   = false
}

module "logs" {
  source = "../modules/bucket"

  name            = "totes-state-logs-${local.account}-${var.region}"
  expire_days     = 365
  noncurrent_days = 1
  force_destroy   = false

  statements = [{
    Sid       = "AllowAccessLogs"
    Effect    = "Allow"
    Principal = { Service = "logging.s3.amazonaws.com" }
    Action    = "s3:PutObject"
    Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
  }]
}

resource "aws_kms_key" "state" {
  description         = "totes: Terraform's state"
  enable_key_rotation = true
  tags                = { Environment = "state" } # no environment has this name, so none may change the tag
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AllowIamPolicies"
      Effect    = "Allow"
      Principal = { AWS = local.root }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_kms_alias" "state" {
  name          = "alias/totes-state"
  target_key_id = aws_kms_key.state.key_id
}
