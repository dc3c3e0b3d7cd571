# The platform: encryption, lake, logins, network and warehouse; three functions and what calls them;
# who is told.

provider "aws" {
  region = var.region

  default_tags {
    tags = {
      Project     = "totes"
      Environment = var.environment
      ManagedBy   = "terraform"
    }
  }
}

locals {
  name = "totes-${var.environment}"

  ingestion = module.lake.arns.ingestion
  processed = module.lake.arns.processed
  urls = {
    TOTES_INGESTION_URL = "s3://${module.lake.buckets.ingestion}"
    TOTES_PROCESSED_URL = "s3://${module.lake.buckets.processed}"
  }

  # What each stage is told and may; all else is the same for all.
  stages = {
    ingest = {
      environment = {
        TOTES_SOURCE_SECRET  = module.secrets.arns.source
        TOTES_SOURCE_SCHEMA  = var.source_schema
        TOTES_EXCLUDE_TABLES = join(",", var.exclude_tables)
        TOTES_INGESTION_URL  = local.urls.TOTES_INGESTION_URL
      }
      secret  = module.secrets.arns.source
      lists   = [local.ingestion]
      reads   = ["${local.ingestion}/*"]
      creates = ["${local.ingestion}/*"]
    }
    transform = {
      environment = local.urls
      secret      = null
      lists       = [local.ingestion, local.processed]
      reads       = ["${local.ingestion}/*", "${local.processed}/*"]
      creates     = ["${local.processed}/*"]
    }
    load = {
      environment = merge(local.urls, {
        TOTES_WAREHOUSE_SECRET = module.secrets.arns.warehouse
      })
      secret = module.secrets.arns.warehouse
      lists  = [local.ingestion, local.processed]
      # Of the ingestion store only what says how fresh it is.
      reads   = ["${local.ingestion}/batches/*", "${local.ingestion}/heartbeats/*", "${local.processed}/*"]
      creates = []
    }
  }
}

module "encryption" {
  source = "./modules/encryption"

  name = local.name
}

module "lake" {
  source = "./modules/lake"

  name                   = local.name
  key                    = module.encryption.keys.data
  stage_roles            = { for stage, made in module.stage : stage => made.role }
  break_glass_principals = var.break_glass_principals
  force_destroy          = var.force_destroy
}

module "secrets" {
  source = "./modules/secrets"

  name                 = local.name
  key                  = module.encryption.keys.secrets
  recovery_window_days = var.secret_recovery_days
  secrets = {
    source    = "totesys, as the role that may only read it"
    warehouse = "the warehouse, as the role that loads it"
    reader    = "the warehouse, as a role that may only read it, for dashboards"
  }
}

resource "aws_s3_object" "bundle" {
  bucket = module.lake.buckets.artefacts
  key    = "bundles/totes-${substr(filesha256(var.bundle), 0, 16)}.zip"
  source = var.bundle

  lifecycle {
    create_before_destroy = true # functions go from one to the other without a gap
  }
}

module "stage" {
  source   = "./modules/stage"
  for_each = local.stages

  name                 = local.name
  environment_name     = var.environment
  stage                = each.key
  environment          = each.value.environment
  secret               = each.value.secret
  lists                = each.value.lists
  reads                = each.value.reads
  creates              = each.value.creates
  keys                 = module.encryption.keys
  alert_topic          = module.watch.topic
  memory_mb            = var.functions[each.key].memory_mb
  scratch_mb           = var.functions[each.key].scratch_mb
  reserved_concurrency = var.reserved_concurrency
  log_days             = var.log_days
  tracing              = var.tracing
  bundle = {
    bucket = aws_s3_object.bundle.bucket
    key    = aws_s3_object.bundle.key
    hash   = filebase64sha256(var.bundle)
  }
}

module "flow" {
  source = "./modules/flow"

  name      = local.name
  functions = { for stage, made in module.stage : stage => made.function }
  buckets = {
    ingestion = module.lake.buckets.ingestion
    processed = module.lake.buckets.processed
  }
  every_minutes = {
    ingest    = var.ingest_every_minutes
    transform = var.transform_every_minutes
    load      = var.load_every_minutes
  }
  enabled = var.flow_enabled
  key     = module.encryption.keys.signals
}

module "watch" {
  source = "./modules/watch"

  name             = local.name
  environment_name = var.environment
  alarm_email      = var.alarm_email
  key              = module.encryption.keys.signals
  queues           = { undelivered = module.flow.dead_letter_queue.name }
  alarms           = flatten([for made in values(module.stage) : values(made.alarms)])
}
