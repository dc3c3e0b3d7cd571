variable "environment" {
  description = "Name of the environment; the names of all resources begin with totes- and this name."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,11}$", var.environment))
    error_message = "Use 2 to 12 lower-case letters and digits, beginning with a letter: it becomes part of bucket names."
  }
}

variable "region" {
  description = "AWS region of all resources."
  type        = string
  default     = "eu-west-2"
}

variable "alarm_email" {
  description = "E-mail address for alarms; AWS asks it once to confirm the subscription."
  type        = string

  validation {
    condition     = can(regex("^[^@[:space:]]+@[^@[:space:]]+\\.[^@[:space:]]+$", var.alarm_email))
    error_message = "Use an e-mail address."
  }
}

variable "monthly_budget_usd" {
  description = "Monthly costs of the account in US dollars: alarm_email gets a message at 80 % of it, and when a month is forecast to exceed it; null for none."
  type        = number
  default     = null

  validation {
    condition     = var.monthly_budget_usd == null ? true : var.monthly_budget_usd > 0
    error_message = "Use a positive number of US dollars."
  }
}

variable "bundle" {
  description = "Path of the functions' zip, which `make bundle` builds."
  type        = string
  default     = "../dist/totes-lambda.zip"

  validation {
    condition     = fileexists(var.bundle)
    error_message = "The file does not exist; `make bundle` builds it."
  }
}

# -- Flow

variable "ingest_every_minutes" {
  description = "Minutes between two captures of totesys."
  type        = number
  default     = 5

  validation {
    condition     = contains([for minute in range(1, 16) : minute], var.ingest_every_minutes)
    error_message = "Use 1 to 15: a longer interval can miss the deadline of 30 minutes."
  }
}

variable "transform_every_minutes" {
  description = "Minutes between two scheduled calls of transform, which is also called for each new batch."
  type        = number
  default     = 5

  validation {
    condition     = contains([for minute in range(1, 16) : minute], var.transform_every_minutes)
    error_message = "Use 1 to 15: a longer interval can miss the deadline of 30 minutes."
  }
}

variable "load_every_minutes" {
  description = "Minutes between two scheduled calls of load, which is also called for each new batch; each call measures the warehouse's lag."
  type        = number
  default     = 5

  validation {
    condition     = contains([for minute in range(1, 6) : minute], var.load_every_minutes)
    error_message = "Use 1 to 5: each period of the alarms on freshness, 10 minutes, must have calls."
  }
}

variable "flow_enabled" {
  description = "Whether schedules and events call the functions, and verify runs at night; false stops them, for example during the first load."
  type        = bool
  default     = true
}

variable "source_schema" {
  description = "Schema of totesys that is ingested."
  type        = string
  default     = "public"
}

variable "exclude_tables" {
  description = "Tables of totesys that are not ingested."
  type        = list(string)
  default     = ["_prisma_migrations"]
}

variable "rates_enabled" {
  description = "Whether a function outside of the platform's network fetches the ECB's exchange rates daily; false leaves those in the bundle."
  type        = bool
  default     = true
}

variable "capture" {
  description = "How changes of totesys are found: `scan` its tables, or read its write-ahead `log`, for which docs/log-capture.md says what totesys needs."
  type        = string
  default     = "scan"

  validation {
    condition     = contains(["scan", "log"], var.capture)
    error_message = "Use scan or log."
  }
}

variable "log_slot" {
  description = "Replication slot in totesys, which the first capture from the log creates."
  type        = string
  default     = "totes"

  validation {
    condition     = can(regex("^[a-z0-9_]{1,63}$", var.log_slot))
    error_message = "Use at most 63 lower-case letters, digits and underscores."
  }
}

variable "log_publication" {
  description = "Publication in totesys for the capture from the log."
  type        = string
  default     = "totes"
}

variable "log_alarm_mb" {
  description = "Size in MB of the write-ahead log that the slot retains in totesys at which an alert is sent."
  type        = number
  default     = 1000

  validation {
    condition     = var.log_alarm_mb >= 256
    error_message = "Use at least 256."
  }
}

variable "source_instance" {
  description = "For capture = log and a totesys on RDS that may get a parameter group of ours: its instance's identifier, its major version of PostgreSQL, and the most log in MB that a slot may retain; null if someone else configures it."
  type = object({
    identifier    = string
    major_version = string
    retain_mb     = optional(number, 10240)
  })
  default = null

  validation {
    condition     = var.source_instance == null ? true : var.source_instance.retain_mb > var.log_alarm_mb
    error_message = "Use a retain_mb above log_alarm_mb: else the slot is lost before the alarm."
  }
}

# -- Network

variable "network_cidr" {
  description = "CIDR block of the platform's network. With peering it must not overlap with the network of totesys, which can answer only one environment with the same block."
  type        = string
  default     = "10.84.0.0/20"

  validation {
    condition     = can(cidrhost(var.network_cidr, 0)) && can(regex("/(1[6-9]|2[0-4])$", var.network_cidr))
    error_message = "Use a CIDR block a.b.c.d/n with n from 16 to 24."
  }
}

variable "zones" {
  description = "Number of availability zones with private subnets; RDS needs two."
  type        = number
  default     = 2

  validation {
    condition     = contains([2, 3], var.zones)
    error_message = "Use 2 or 3."
  }
}

variable "endpoint_zones" {
  description = "Number of zones with endpoints of AWS services; each endpoint is charged by the hour."
  type        = number
  default     = 1

  validation {
    condition     = var.endpoint_zones >= 1 && var.endpoint_zones <= var.zones
    error_message = "Use at least 1 and at most the number of zones."
  }
}

variable "source_access" {
  description = "How totesys is reached: `peering` with its VPC, `nat` through the internet, or `none` if the network has a route of its own (transit gateway, VPN)."
  type        = string
  default     = "none"

  validation {
    condition     = contains(["peering", "nat", "none"], var.source_access)
    error_message = "Use peering, nat or none."
  }
}

variable "source_address" {
  description = "CIDR block of totesys, the only external addresses that ingest and tasks may connect to; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.source_address == null ? true : can(cidrhost(var.source_address, 0)) && !endswith(var.source_address, "/0")
    error_message = "Use a CIDR block a.b.c.d/n (n is 32 for one address), but not the whole internet."
  }

  validation {
    condition     = var.source_access == "none" || var.source_address != null
    error_message = "Set source_address for source_access peering or nat."
  }
}

variable "source_port" {
  description = "Port of totesys."
  type        = number
  default     = 5432

  validation {
    condition     = var.source_port >= 1 && var.source_port <= 65535
    error_message = "Use 1 to 65535."
  }
}

variable "source_vpc" {
  description = "For peering: VPC and CIDR block of totesys, and its account and region if they differ."
  type = object({
    id      = string
    cidr    = string
    account = optional(string)
    region  = optional(string)
  })
  default = null

  validation {
    condition     = var.source_access != "peering" || var.source_vpc != null
    error_message = "Set source_vpc for source_access peering."
  }

  # Of two blocks that overlap, the larger begins at the same address as the smaller one cut to its length.
  validation {
    condition = var.source_vpc == null ? true : try(length(distinct([
      for cidr in [var.network_cidr, var.source_vpc.cidr] :
      cidrhost("${split("/", cidr)[0]}/${min([for each in [var.network_cidr, var.source_vpc.cidr] : tonumber(split("/", each)[1])]...)}", 0)
    ])) == 2, false)
    error_message = "Use a CIDR block a.b.c.d/n that does not overlap with network_cidr: AWS refuses to peer such networks."
  }
}

# -- Warehouse

variable "warehouse_enabled" {
  description = "Whether to create the warehouse on RDS; false if its secret names another PostgreSQL server."
  type        = bool
  default     = true
}

variable "warehouse_clients" {
  description = "CIDR blocks that may connect to the warehouse, such as dashboards or a VPN, in addition to load and tasks."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.warehouse_clients : can(cidrhost(cidr, 0)) && !endswith(cidr, "/0")])
    error_message = "Use CIDR blocks a.b.c.d/n, but not the whole internet."
  }
}

variable "operator_enabled" {
  description = "Whether to create an instance through which Session Manager forwards a port to the warehouse, for people without another network route."
  type        = bool
  default     = false
}

variable "warehouse_version" {
  description = "Major version of PostgreSQL on RDS."
  type        = string
  default     = "17"

  validation {
    condition     = can(tonumber(var.warehouse_version)) ? tonumber(var.warehouse_version) >= 15 : false
    error_message = "Use a major version, 15 or newer."
  }
}

variable "warehouse_allow_major_version_upgrade" {
  description = "Whether a deployment may change the warehouse's major version; true only while that is done."
  type        = bool
  default     = false

  validation {
    condition     = !var.warehouse_allow_major_version_upgrade || var.warehouse_apply_immediately
    error_message = "Set warehouse_apply_immediately, too: the old version's parameter group can't be removed until the upgrade is done."
  }
}

variable "warehouse_apply_immediately" {
  description = "Whether changes of the warehouse that interrupt connections, such as its class, are made during the deployment, and not in the maintenance window."
  type        = bool
  default     = false
}

variable "warehouse_instance_class" {
  description = "RDS instance class of the warehouse."
  type        = string
  default     = "db.t4g.micro"
}

variable "warehouse_storage_gb" {
  description = "Initial storage of the warehouse in GB."
  type        = number
  default     = 20

  validation {
    condition     = var.warehouse_storage_gb >= 20
    error_message = "Use at least 20 GB."
  }
}

variable "warehouse_max_storage_gb" {
  description = "Maximum storage in GB to which the warehouse grows automatically."
  type        = number
  default     = 100

  validation {
    condition     = var.warehouse_max_storage_gb > var.warehouse_storage_gb
    error_message = "Use more than warehouse_storage_gb."
  }
}

variable "warehouse_multi_az" {
  description = "Whether the warehouse has a standby instance in another zone, at twice the price."
  type        = bool
  default     = false
}

variable "warehouse_backup_days" {
  description = "Days for which the warehouse can be restored to any point in time."
  type        = number
  default     = 7

  validation {
    condition     = contains([for day in range(1, 36) : day], var.warehouse_backup_days)
    error_message = "Use 1 to 35."
  }
}

variable "warehouse_deletion_protection" {
  description = "Whether the warehouse is protected from deletion."
  type        = bool
  default     = true
}

variable "warehouse_final_snapshot" {
  description = "Whether deleting the warehouse keeps its backups and a snapshot totes-ENV-final."
  type        = bool
  default     = true
}

# -- Functions

variable "functions" {
  description = "Memory and size of /tmp of each stage's function, in MB."
  type = object({
    ingest    = optional(object({ memory_mb = optional(number, 1769), scratch_mb = optional(number, 2048) }), {})
    transform = optional(object({ memory_mb = optional(number, 1769), scratch_mb = optional(number, 2048) }), {})
    load      = optional(object({ memory_mb = optional(number, 1769), scratch_mb = optional(number, 2048) }), {})
  })
  default = {}

  validation {
    condition     = alltrue([for made in values(var.functions) : made.memory_mb >= 512 && made.memory_mb <= 10240])
    error_message = "Use 512 to 10240 MB of memory."
  }

  validation {
    condition     = alltrue([for made in values(var.functions) : made.scratch_mb >= 512 && made.scratch_mb <= 10240])
    error_message = "Use 512 to 10240 MB for /tmp."
  }
}

# -- Tasks

variable "task_enabled" {
  description = "Whether long work, such as the first load and migrations, can run on Fargate; its endpoints are charged by the hour."
  type        = bool
  default     = true
}

variable "image_tag" {
  description = "Tag of the container image that tasks run, the commit that `make image-push` built; null if there is none, then tasks can't start."
  type        = string
  default     = null

  validation {
    condition     = var.image_tag == null ? true : can(regex("^[0-9A-Za-z_][0-9A-Za-z_.-]{0,127}$", var.image_tag))
    error_message = "Use a tag of a container image."
  }
}

variable "task" {
  description = "CPU units (1024 is one vCPU), memory in MB and temporary storage in GB of a task on Fargate."
  type        = object({ cpu = optional(number, 2048), memory_mb = optional(number, 8192), scratch_gb = optional(number, 50) })
  default     = {}

  validation {
    condition = contains(lookup({
      1024  = range(2048, 8193, 1024)
      2048  = range(4096, 16385, 1024)
      4096  = range(8192, 30721, 1024)
      8192  = range(16384, 61441, 4096)
      16384 = range(32768, 122881, 8192)
    }, var.task.cpu, []), var.task.memory_mb)
    error_message = "Use a combination that Fargate has, such as 2048 with 4096 to 16384 MB of memory in steps of 1024."
  }

  validation {
    condition     = var.task.scratch_gb >= 21 && var.task.scratch_gb <= 200
    error_message = "Use 21 to 200 GB of temporary storage."
  }
}

variable "verify_cron" {
  description = "When the warehouse is compared with totesys row by row, as the six fields of a cron expression in UTC; null for never."
  type        = string
  default     = "0 4 * * ? *"

  validation {
    condition     = var.verify_cron == null ? true : can(regex("^[0-9A-Z*,/?#L-]+( [0-9A-Z*,/?#L-]+){5}$", var.verify_cron))
    error_message = "Use minutes, hours, day of month, month, day of week and year, such as 0 4 * * ? *."
  }
}

# -- Spark

variable "spark_enabled" {
  description = "Whether batches from spark.min_size on are transformed on EMR Serverless; its endpoint is charged by the hour, its jobs by the second."
  type        = bool
  default     = false

  validation {
    condition     = !var.spark_enabled || var.iceberg_enabled
    error_message = "Spark needs iceberg_enabled: the processed store's views in Athena don't find Spark's files."
  }
}

variable "spark" {
  description = "Size of a batch's files from which on Spark transforms it, vCPUs that all jobs together may use, and after how many hours of a job an alarm fires."
  type        = object({ min_size = optional(string, "1GB"), max_vcpu = optional(number, 64), slow_hours = optional(number, 4) })
  default     = {}

  validation {
    condition     = can(regex("^[0-9]{1,6}(MB|GB)$", var.spark.min_size))
    error_message = "Use a size such as 500MB or 1GB as min_size."
  }

  validation {
    condition     = var.spark.max_vcpu >= 8 && var.spark.max_vcpu % 4 == 0 && floor(var.spark.max_vcpu) == var.spark.max_vcpu
    error_message = "Use a multiple of 4, at least 8, as max_vcpu: a driver and an executor have 4 each."
  }

  validation {
    condition     = var.spark.slow_hours > 0 && var.spark.slow_hours < 24
    error_message = "Use less than 24 as slow_hours: EMR cancels a job after a day."
  }
}

variable "spark_package" {
  description = "Path of the packages of Spark's jobs, which `make spark-package` builds; used with spark_enabled."
  type        = string
  default     = "../dist/totes-spark.tar.gz"

  validation {
    condition     = !var.spark_enabled || fileexists(var.spark_package)
    error_message = "The file does not exist; `make spark-package` builds it."
  }
}

variable "iceberg_enabled" {
  description = "Whether a task publishes the star as Iceberg tables, which take the place of the processed store's views in Athena."
  type        = bool
  default     = false

  validation {
    condition     = !var.iceberg_enabled || var.task_enabled
    error_message = "Iceberg tables need task_enabled: a task publishes them."
  }
}

variable "publish_cron" {
  description = "When new batches are published as Iceberg tables, as the six fields of a cron expression in UTC."
  type        = string
  default     = "20 * * * ? *"

  validation {
    condition     = can(regex("^[0-9A-Z*,/?#L-]+( [0-9A-Z*,/?#L-]+){5}$", var.publish_cron))
    error_message = "Use minutes, hours, day of month, month, day of week and year, such as 20 * * * ? *."
  }
}

# -- Dashboard

variable "dashboard" {
  description = "The dashboard behind a load balancer, at which users sign in; null for none."
  type = object({
    domain          = string
    certificate_arn = string                     # of ACM, in the region of the platform
    clients         = optional(list(string), []) # CIDR blocks from which users open it
    sign_in = object({                           # one of both
      cognito = optional(object({ user_pool_arn = string, client_id = string, domain = string }))
      oidc = optional(object({
        issuer                 = string
        authorization_endpoint = string
        token_endpoint         = string
        user_info_endpoint     = string
        client_id              = string
      }))
    })
    settings            = optional(map(string), {}) # TOTES_DASHBOARD_…
    tasks               = optional(number, 2)
    cpu                 = optional(number, 512)  # units of a task; 1024 is one vCPU
    memory_mb           = optional(number, 2048) # of a task
    deletion_protection = optional(bool, true)
  })
  default = null

  validation {
    condition     = var.dashboard == null ? true : can(regex("^([a-z0-9-]+\\.)+[a-z]+$", var.dashboard.domain)) && can(regex("^arn:[^:]+:acm:${var.region}:", var.dashboard.certificate_arn))
    error_message = "Use a domain in lower-case letters, and a certificate of ACM in the region of the platform."
  }

  validation {
    condition     = var.dashboard == null ? true : (var.dashboard.sign_in.cognito == null) != (var.dashboard.sign_in.oidc == null)
    error_message = "Use one kind of sign-in, cognito or oidc."
  }

  validation {
    condition     = var.dashboard == null ? true : alltrue([for cidr in var.dashboard.clients : can(cidrhost(cidr, 0))])
    error_message = "Use CIDR blocks a.b.c.d/n as clients; 0.0.0.0/0 for all."
  }

  validation {
    condition     = var.dashboard == null ? true : alltrue([for name in keys(var.dashboard.settings) : can(regex("^TOTES_DASHBOARD_(COMPANY|CURRENCY|FISCAL_YEAR|MEMORY|TIME_ZONE)$", name))])
    error_message = "Use the settings TOTES_DASHBOARD_COMPANY, _CURRENCY, _FISCAL_YEAR, _MEMORY and _TIME_ZONE."
  }

  validation {
    condition     = var.dashboard == null ? true : var.dashboard.tasks >= 1 && contains([512, 1024, 2048, 4096], var.dashboard.cpu) && var.dashboard.memory_mb % 1024 == 0 && var.dashboard.memory_mb >= 2 * var.dashboard.cpu && var.dashboard.memory_mb <= 8 * var.dashboard.cpu
    error_message = "Use at least one task, 512, 1024, 2048 or 4096 CPU units, and two to eight times as many MB of memory, in steps of 1024."
  }

  validation {
    condition     = var.dashboard == null ? true : var.task_enabled && tonumber(split("/", var.network_cidr)[1]) <= 23
    error_message = "The dashboard needs task_enabled, and a network_cidr of at least /23, as a load balancer needs subnets of at least /27."
  }

  validation {
    condition     = var.dashboard == null || var.image_tag != null
    error_message = "The dashboard needs image_tag, of an image that is in the registry: first deploy without the dashboard, then run `make image-push`."
  }
}

# -- Functions, in general

variable "reserved_concurrency" {
  description = "Reserved concurrency of each function, which is also its limit; null reserves none, as a new account has too little."
  type        = number
  default     = null

  validation {
    condition     = var.reserved_concurrency == null ? true : var.reserved_concurrency >= 1
    error_message = "Use at least 1, or null; set flow_enabled = false to stop the functions."
  }
}

variable "log_days" {
  description = "Retention of the functions' logs in days."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_days)
    error_message = "Use a retention of CloudWatch: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731."
  }
}

variable "tracing" {
  description = "Whether X-Ray traces each call."
  type        = bool
  default     = true
}

variable "bounded" {
  description = "Whether roles get the permissions boundary that bootstrap/ creates; GitHub's role may only create roles with it."
  type        = bool
  default     = false
}

# -- Keeping and removing

variable "infrequent_after_days" {
  description = "Days until the lake's data moves to the storage class for infrequent access."
  type        = number
  default     = 60

  validation {
    condition     = var.infrequent_after_days >= 30
    error_message = "Use at least 30 days, as S3 requires."
  }
}

variable "archive_after_days" {
  description = "Days until the lake's data moves to Glacier Instant Retrieval."
  type        = number
  default     = 180

  validation {
    condition     = var.archive_after_days >= var.infrequent_after_days + 30
    error_message = "Use at least 30 days more than infrequent_after_days."
  }
}

variable "cloudtrail_enabled" {
  description = "Whether CloudTrail records who read, created or deleted an object of the lake."
  type        = bool
  default     = true
}

variable "object_lock" {
  description = "Days for which S3 itself keeps each version of an object of the two stores; in mode GOVERNANCE the removal role can delete it before, in mode COMPLIANCE no user can; null for none."
  type        = object({ mode = optional(string, "GOVERNANCE"), days = number })
  default     = null

  validation {
    condition     = var.object_lock == null ? true : contains(["GOVERNANCE", "COMPLIANCE"], var.object_lock.mode) && var.object_lock.days >= 1 && var.object_lock.days <= 36500 && floor(var.object_lock.days) == var.object_lock.days
    error_message = "Use the mode GOVERNANCE or COMPLIANCE, and 1 to 36500 days."
  }
}

variable "removal_principals" {
  description = "ARNs of principals that may assume the role that removes objects of the lake, with a second factor; if empty, the account's own policies decide."
  type        = list(string)
  default     = []
}

variable "secret_recovery_days" {
  description = "Days for which a deleted secret can be recovered and its name is reserved; 0 for none."
  type        = number
  default     = 30

  validation {
    condition     = var.secret_recovery_days == 0 || contains([for day in range(7, 31) : day], var.secret_recovery_days)
    error_message = "Use 0, or 7 to 30."
  }
}

variable "force_destroy" {
  description = "Whether `make destroy` also removes the objects in the buckets. Leave it false for data that matters."
  type        = bool
  default     = false
}
