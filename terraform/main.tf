# The platform: encryption, lake, secrets, network and warehouse; three functions, their schedules and
# events, and one that fetches exchange rates; alarms.

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

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

locals {
  name = "totes-${var.environment}"

  boundary = var.bounded ? "arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:policy/${local.name}-boundary" : null

  ingestion = module.lake.arns.ingestion
  processed = module.lake.arns.processed
  urls = {
    TOTES_INGESTION_URL = "s3://${module.lake.buckets.ingestion}"
    TOTES_PROCESSED_URL = "s3://${module.lake.buckets.processed}"
  }

  # Of the capture from the write-ahead log; ingest reads what is there and ends.
  capture = var.capture == "scan" ? {} : {
    TOTES_CAPTURE         = var.capture
    TOTES_LOG_SLOT        = var.log_slot
    TOTES_LOG_PUBLICATION = var.log_publication
  }

  # Where the newest exchange rates are; without them, those in the bundle are used.
  rates = { for made in module.rates : "TOTES_RATES_URL" => made.url }

  every_minutes = {
    ingest    = var.ingest_every_minutes
    transform = var.transform_every_minutes
    load      = var.load_every_minutes
  }

  # Files of Spark's executors: the folder of an attempt begins with `spark-` (src/totes/spark).
  attempts = "generation=*/*/spark-*/*"

  # What the function transform needs to leave large batches to Spark.
  spark = { for made in module.spark : "spark" => {
    TOTES_SPARK_APPLICATION = made.application.id
    TOTES_SPARK_ROLE        = made.role
    TOTES_SPARK_PROGRAM     = made.program
    TOTES_SPARK_MIN_SIZE    = var.spark.min_size
  } }

  # Of the dashboard's sign-in; Cognito itself gives the load balancer the one of its client.
  has_oidc_client = try(var.dashboard.sign_in.oidc, null) != null

  # Settings and permissions of each stage. The rest of their configuration is the same.
  stages = {
    ingest = {
      environment = merge(local.capture, local.rates, {
        TOTES_SOURCE_SECRET  = module.secrets.arns.source
        TOTES_SOURCE_SCHEMA  = var.source_schema
        TOTES_EXCLUDE_TABLES = join(",", var.exclude_tables)
        TOTES_INGESTION_URL  = local.urls.TOTES_INGESTION_URL
      })
      secret             = module.secrets.arns.source
      unavailable_metric = "SourceUnavailable"
      listable_buckets   = [local.ingestion]
      readable_objects   = ["${local.ingestion}/*"]
      creatable_objects  = ["${local.ingestion}/*"]
    }
    transform = {
      environment        = merge(local.urls, values(local.spark)...)
      secret             = null
      unavailable_metric = null
      listable_buckets   = [local.ingestion, local.processed]
      readable_objects   = ["${local.ingestion}/*", "${local.processed}/*"]
      creatable_objects  = ["${local.processed}/*"]
    }
    load = {
      environment = merge(local.urls, {
        TOTES_WAREHOUSE_SECRET = module.secrets.arns.warehouse
      })
      secret             = module.secrets.arns.warehouse
      unavailable_metric = "WarehouseUnavailable"
      listable_buckets   = [local.ingestion, local.processed]
      # In the ingestion store, only the objects that determine the lag.
      readable_objects  = ["${local.ingestion}/batches/*", "${local.ingestion}/heartbeats/*", "${local.processed}/*"]
      creatable_objects = []
    }
  }
}

module "encryption" {
  source = "./modules/encryption"

  name = local.name
}

module "network" {
  source = "./modules/network"

  boundary          = local.boundary
  name              = local.name
  cidr              = var.network_cidr
  zones             = var.zones
  endpoint_zones    = var.endpoint_zones
  source_access     = var.source_access
  source_address    = var.source_address
  source_port       = var.source_port
  source_vpc        = var.source_vpc
  tasks             = var.task_enabled
  dashboard         = var.dashboard != null
  spark             = var.spark_enabled
  glue              = var.iceberg_enabled
  warehouse_clients = var.warehouse_clients
  log_days          = var.log_days
  key               = module.encryption.keys.signals
}

module "lake" {
  source = "./modules/lake"

  boundary = local.boundary
  name     = local.name
  key      = module.encryption.keys.data
  stage_roles = merge(
    { for stage, made in module.stage : stage => made.role },
    { for made in module.rates : "rates" => made.role },
    { for made in module.task : "task" => made.roles.task },
  )
  executor_roles        = [for made in module.spark : made.role]
  attempts              = local.attempts
  infrequent_after_days = var.infrequent_after_days
  archive_after_days    = var.archive_after_days
  object_lock           = var.object_lock
  removal_principals    = var.removal_principals
  force_destroy         = var.force_destroy
}

module "trail" {
  source = "./modules/trail"
  count  = var.cloudtrail_enabled ? 1 : 0

  name          = local.name
  buckets       = [for store in ["ingestion", "processed", "artefacts"] : module.lake.arns[store]]
  key           = module.encryption.keys.signals
  access_logs   = module.lake.buckets.logs
  log_days      = var.log_days
  force_destroy = var.force_destroy
}

module "secrets" {
  source = "./modules/secrets"

  name                 = local.name
  key                  = module.encryption.keys.secrets
  recovery_window_days = var.secret_recovery_days
  secrets = merge(
    {
      source    = "totesys, as a read-only role"
      warehouse = "the warehouse, as the role that loads it"
      reader    = "the warehouse, as a read-only role for dashboards"
    },
    local.has_oidc_client ? { oidc-client = "the dashboard at the provider where its users sign in" } : {},
  )
}

module "source" {
  source = "./modules/source"
  count  = var.source_instance == null ? 0 : 1

  name     = local.name
  instance = var.source_instance
  alarm_mb = var.log_alarm_mb
}

module "warehouse" {
  source = "./modules/warehouse"
  count  = var.warehouse_enabled ? 1 : 0

  boundary            = local.boundary
  name                = local.name
  subnets             = module.network.subnets
  security_group      = module.network.warehouse_security_group
  keys                = module.encryption.keys
  major_version       = var.warehouse_version
  instance_class      = var.warehouse_instance_class
  storage_gb          = var.warehouse_storage_gb
  max_storage_gb      = var.warehouse_max_storage_gb
  multi_az            = var.warehouse_multi_az
  backup_days         = var.warehouse_backup_days
  deletion_protection = var.warehouse_deletion_protection
  final_snapshot      = var.warehouse_final_snapshot
  log_days            = var.log_days

  allow_major_version_upgrade = var.warehouse_allow_major_version_upgrade
  apply_immediately           = var.warehouse_apply_immediately
}

module "operator" {
  source = "./modules/operator"
  count  = var.operator_enabled ? 1 : 0

  boundary                 = local.boundary
  name                     = local.name
  vpc                      = module.network.vpc
  subnet                   = module.network.subnets[0]
  warehouse_security_group = module.network.warehouse_security_group
}

module "catalogue" {
  source = "./modules/catalogue"

  environment      = var.environment
  ingestion_bucket = module.lake.buckets.ingestion
  processed_bucket = module.lake.buckets.processed
  results_bucket   = "${local.name}-athena-results-${data.aws_caller_identity.current.account_id}-${var.region}"
  kms_key_arn      = module.encryption.keys.data
  iceberg          = one([for made in module.iceberg : { database = made.database, bucket = made.bucket }])
}

resource "aws_s3_object" "bundle" {
  bucket = module.lake.buckets.artefacts
  key    = "bundles/totes-${substr(filesha256(var.bundle), 0, 16)}.zip"
  source = var.bundle

  lifecycle {
    create_before_destroy = true # functions change to the new one without a gap
  }
}

locals {
  bundle = {
    bucket = aws_s3_object.bundle.bucket
    key    = aws_s3_object.bundle.key
    hash   = filebase64sha256(var.bundle)
  }
}

module "stage" {
  source   = "./modules/stage"
  for_each = local.stages

  boundary             = local.boundary
  name                 = local.name
  environment_name     = var.environment
  stage                = each.key
  environment          = each.value.environment
  secret               = each.value.secret
  unavailable_metric   = each.value.unavailable_metric
  every_minutes        = local.every_minutes[each.key]
  listable_buckets     = each.value.listable_buckets
  readable_objects     = each.value.readable_objects
  creatable_objects    = each.value.creatable_objects
  keys                 = module.encryption.keys
  alert_topic          = module.watch.topic
  memory_mb            = var.functions[each.key].memory_mb
  scratch_mb           = var.functions[each.key].scratch_mb
  reserved_concurrency = var.reserved_concurrency
  log_days             = var.log_days
  tracing              = var.tracing
  bundle               = local.bundle
  spark = each.key != "transform" ? null : one([for made in module.spark : {
    application = made.application.arn
    role        = made.role
  }])
  network = {
    subnets        = module.network.subnets
    security_group = module.network.stage_security_groups[each.key]
  }
}

module "spark" {
  source = "./modules/spark"
  count  = var.spark_enabled ? 1 : 0

  boundary         = local.boundary
  name             = local.name
  package          = var.spark_package
  artefacts_bucket = module.lake.buckets.artefacts
  stores           = { ingestion = local.ingestion, processed = local.processed }
  attempts         = local.attempts
  max_vcpu         = var.spark.max_vcpu
  keys             = module.encryption.keys
  log_days         = var.log_days
  network = {
    subnets        = module.network.subnets
    security_group = module.network.spark_security_group
  }
}

module "rates" {
  source = "./modules/rates"
  count  = var.rates_enabled ? 1 : 0

  boundary       = local.boundary
  name           = local.name
  bucket         = { name = module.lake.buckets.ingestion, arn = local.ingestion }
  bundle         = local.bundle
  schedule_group = module.flow.schedule_group
  keys           = module.encryption.keys
  log_days       = var.log_days
}

module "task" {
  source = "./modules/task"
  count  = var.task_enabled ? 1 : 0

  boundary          = local.boundary
  name              = local.name
  image_tag         = var.image_tag
  environment       = merge(concat([for stage in values(local.stages) : stage.environment], module.iceberg[*].environment)...)
  secrets           = compact([for stage in values(local.stages) : stage.secret])
  listable_buckets  = distinct(flatten([for stage in values(local.stages) : stage.listable_buckets]))
  readable_objects  = distinct(flatten([for stage in values(local.stages) : stage.readable_objects]))
  creatable_objects = distinct(flatten([for stage in values(local.stages) : stage.creatable_objects]))
  keys              = module.encryption.keys
  alert_topic       = module.watch.topic
  cpu               = var.task.cpu
  memory_mb         = var.task.memory_mb
  scratch_gb        = var.task.scratch_gb
  log_days          = var.log_days
  verify_cron       = var.verify_cron
  publish_cron      = var.iceberg_enabled ? var.publish_cron : null
  enabled           = var.flow_enabled

  schedule_group = module.flow.schedule_group
  network = {
    subnets        = module.network.subnets
    security_group = module.network.task_security_group
  }
  create = one([for made in module.warehouse : {
    host             = made.host
    master_secret    = made.master_secret
    warehouse_secret = module.secrets.arns.warehouse
    reader_secret    = module.secrets.arns.reader
  }])
}

module "iceberg" {
  source = "./modules/iceberg"
  count  = var.iceberg_enabled ? 1 : 0

  name           = local.name
  environment    = var.environment
  key            = module.encryption.keys.data
  access_logs    = module.lake.buckets.logs
  publisher_role = module.task[0].role_name
  cluster        = module.task[0].cluster
}

module "dashboard" {
  source   = "./modules/dashboard"
  for_each = { for dashboard in var.dashboard[*] : "dashboard" => dashboard }

  boundary            = local.boundary
  name                = local.name
  domain              = each.value.domain
  certificate_arn     = each.value.certificate_arn
  clients             = each.value.clients
  sign_in             = each.value.sign_in
  settings            = each.value.settings
  tasks               = each.value.tasks
  cpu                 = each.value.cpu
  memory_mb           = each.value.memory_mb
  deletion_protection = each.value.deletion_protection
  vpc                 = module.network.vpc
  subnets             = module.network.subnets
  public_subnets      = module.network.public_subnets
  security_group      = module.network.dashboard_security_group
  cluster             = module.task[0].cluster
  image               = module.task[0].image
  execution_role      = module.task[0].roles.execution
  log_group           = module.task[0].log_group
  login_secret        = module.secrets.arns.reader
  keys                = module.encryption.keys
  access_logs         = module.lake.buckets.logs
  log_days            = var.log_days
}

module "flow" {
  source = "./modules/flow"

  boundary  = local.boundary
  name      = local.name
  functions = { for stage, made in module.stage : stage => made.function }
  buckets = {
    ingestion = module.lake.buckets.ingestion
    processed = module.lake.buckets.processed
  }
  every_minutes = local.every_minutes
  enabled       = var.flow_enabled
}

module "watch" {
  source = "./modules/watch"

  name             = local.name
  environment_name = var.environment
  alarm_email      = var.alarm_email
  key              = module.encryption.keys.signals
  flow_enabled     = var.flow_enabled
  rates_enabled    = var.rates_enabled
  spark_log        = one([for made in module.spark : made.log_group])
  spark_slow_hours = var.spark.slow_hours
  verify_cron      = var.task_enabled ? var.verify_cron : null
  functions        = { for stage, made in module.stage : stage => made.function.name }
  stage_alarms     = { for stage, made in module.stage : stage => made.alarms }
  warehouse_alarms = merge(module.warehouse[*].alarms...)
  source_alarms    = merge(module.source[*].alarms...)
  iceberg_alarms   = merge(module.iceberg[*].alarms...)
  dashboard_alarms = merge([for made in module.dashboard : made.alarms]...)
}
