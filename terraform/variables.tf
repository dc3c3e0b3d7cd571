variable "environment" {
  description = "Which environment this is; all names begin with totes- and this."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9]{1,11}$", var.environment))
    error_message = "2 to 12 small letters and digits, a letter first: bucket names are made of it."
  }
}

variable "region" {
  description = "AWS region in which everything is."
  type        = string
  default     = "eu-west-2"
}

variable "alarm_email" {
  description = "Who is told when something needs a person; AWS asks that address once whether it wants to be."
  type        = string

  validation {
    condition     = can(regex("^[^@[:space:]]+@[^@[:space:]]+\\.[^@[:space:]]+$", var.alarm_email))
    error_message = "An e-mail address."
  }
}

variable "bundle" {
  description = "Path of the functions' zip, which `make bundle` writes."
  type        = string
  default     = "../dist/totes-lambda.zip"

  validation {
    condition     = fileexists(var.bundle)
    error_message = "There is no such file: `make bundle` writes it."
  }
}

# -- Flow

variable "ingest_every_minutes" {
  description = "Every how many minutes totesys is looked at."
  type        = number
  default     = 5

  validation {
    condition     = contains([for minute in range(1, 16) : minute], var.ingest_every_minutes)
    error_message = "1 to 15: with less often the deadline of 30 minutes is at risk."
  }
}

variable "transform_every_minutes" {
  description = "Every how many minutes transform is called, besides for each new batch."
  type        = number
  default     = 5

  validation {
    condition     = contains([for minute in range(1, 16) : minute], var.transform_every_minutes)
    error_message = "1 to 15: with less often the deadline of 30 minutes is at risk."
  }
}

variable "load_every_minutes" {
  description = "Every how many minutes load is called, besides for each new batch; it says then how fresh the warehouse is."
  type        = number
  default     = 5

  validation {
    condition     = contains([for minute in range(1, 6) : minute], var.load_every_minutes)
    error_message = "1 to 5: the alarm on freshness looks every 5 minutes."
  }
}

variable "flow_enabled" {
  description = "Whether schedules and events call the functions; false while a first load is done by `totes run --once`, or to hold everything."
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

# -- Network

variable "network_cidr" {
  description = "Addresses of our own network. For peering they must not overlap with totesys' network."
  type        = string
  default     = "10.84.0.0/20"

  validation {
    condition     = can(cidrhost(var.network_cidr, 0)) && can(regex("/(1[6-9]|2[0-4])$", var.network_cidr))
    error_message = "Addresses as a.b.c.d/n, n from 16 to 24."
  }
}

variable "zones" {
  description = "In how many availability zones the private subnets are; RDS asks for two."
  type        = number
  default     = 2

  validation {
    condition     = contains([2, 3], var.zones)
    error_message = "2 or 3."
  }
}

variable "endpoint_zones" {
  description = "In how many of them the endpoints of Secrets Manager and SNS are; every one costs by the hour."
  type        = number
  default     = 1

  validation {
    condition     = var.endpoint_zones >= 1 && var.endpoint_zones <= var.zones
    error_message = "1 at least, and no more than zones."
  }
}

variable "source_access" {
  description = "How totesys is reached: `peering` with its VPC, `nat` through the internet, or `none` where whoever runs the network sees to it (transit gateway, VPN)."
  type        = string
  default     = "none"

  validation {
    condition     = contains(["peering", "nat", "none"], var.source_access)
    error_message = "peering, nat or none."
  }
}

variable "source_address" {
  description = "Addresses of totesys (CIDR), the only ones outside to which ingest may go. Null is nowhere."
  type        = string
  default     = null

  validation {
    condition     = var.source_address == null ? true : can(cidrhost(var.source_address, 0)) && !endswith(var.source_address, "/0")
    error_message = "Addresses as a.b.c.d/n (a single one has n 32), and not the whole internet."
  }

  validation {
    condition     = var.source_access == "none" || var.source_address != null
    error_message = "With source_access peering or nat, say where totesys is."
  }
}

variable "source_port" {
  description = "Port of totesys."
  type        = number
  default     = 5432

  validation {
    condition     = var.source_port >= 1 && var.source_port <= 65535
    error_message = "1 to 65535."
  }
}

variable "source_vpc" {
  description = "For peering: totesys' VPC, its addresses, and its account and region where they are not ours."
  type = object({
    id      = string
    cidr    = string
    account = optional(string)
    region  = optional(string)
  })
  default = null

  validation {
    condition     = var.source_access != "peering" || var.source_vpc != null
    error_message = "With source_access peering, say with which VPC."
  }
}

# -- Warehouse

variable "warehouse_enabled" {
  description = "Whether the warehouse is made here, on RDS; false where its secret names another PostgreSQL."
  type        = bool
  default     = true
}

variable "warehouse_clients" {
  description = "Addresses (CIDR) that may connect to the warehouse besides load: dashboards, a VPN."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.warehouse_clients : can(cidrhost(cidr, 0)) && !endswith(cidr, "/0")])
    error_message = "Addresses as a.b.c.d/n, and not the whole internet."
  }
}

variable "operator_enabled" {
  description = "Whether there is a machine through which Session Manager forwards a port to the warehouse, for a person whom no other way leads there."
  type        = bool
  default     = false
}

variable "warehouse_version" {
  description = "PostgreSQL's major version on RDS."
  type        = string
  default     = "17"

  validation {
    condition     = can(tonumber(var.warehouse_version)) ? tonumber(var.warehouse_version) >= 15 : false
    error_message = "A major version, 15 or newer."
  }
}

variable "warehouse_instance_class" {
  description = "RDS' name of the warehouse's machine."
  type        = string
  default     = "db.t4g.micro"
}

variable "warehouse_storage_gb" {
  description = "The warehouse's storage to begin with."
  type        = number
  default     = 20

  validation {
    condition     = var.warehouse_storage_gb >= 20
    error_message = "20 GB at least."
  }
}

variable "warehouse_max_storage_gb" {
  description = "How far the warehouse's storage may grow by itself."
  type        = number
  default     = 100

  validation {
    condition     = var.warehouse_max_storage_gb > var.warehouse_storage_gb
    error_message = "More than warehouse_storage_gb."
  }
}

variable "warehouse_multi_az" {
  description = "Whether a second instance of the warehouse stands by in another zone, for twice the price."
  type        = bool
  default     = false
}

variable "warehouse_backup_days" {
  description = "For how many days the warehouse can be restored to any moment."
  type        = number
  default     = 7

  validation {
    condition     = contains([for day in range(1, 36) : day], var.warehouse_backup_days)
    error_message = "1 to 35."
  }
}

variable "warehouse_deletion_protection" {
  description = "Whether the warehouse can't be deleted, and leaves a snapshot once it is."
  type        = bool
  default     = true
}

# -- Functions

variable "functions" {
  description = "Memory and room in /tmp of each stage's function."
  type = object({
    ingest    = optional(object({ memory_mb = optional(number, 1769), scratch_mb = optional(number, 2048) }), {})
    transform = optional(object({ memory_mb = optional(number, 1769), scratch_mb = optional(number, 2048) }), {})
    load      = optional(object({ memory_mb = optional(number, 1769), scratch_mb = optional(number, 2048) }), {})
  })
  default = {}

  validation {
    condition     = alltrue([for made in values(var.functions) : made.memory_mb >= 512 && made.memory_mb <= 10240])
    error_message = "Memory is 512 to 10240 MB."
  }

  validation {
    condition     = alltrue([for made in values(var.functions) : made.scratch_mb >= 512 && made.scratch_mb <= 10240])
    error_message = "Room in /tmp is 512 to 10240 MB."
  }
}

variable "reserved_concurrency" {
  description = "How many calls of each function at once, at most, and kept free for it; null reserves nothing, as a new account has nothing to spare."
  type        = number
  default     = null

  validation {
    condition     = var.reserved_concurrency == null ? true : var.reserved_concurrency >= 1
    error_message = "1 at least, or null; to stop the flow set flow_enabled = false."
  }
}

variable "log_days" {
  description = "For how many days the functions' logs are kept."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731], var.log_days)
    error_message = "One of the numbers CloudWatch knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731."
  }
}

variable "tracing" {
  description = "Whether X-Ray traces each call."
  type        = bool
  default     = true
}

variable "bounded" {
  description = "Whether roles get the boundary that bootstrap/ made, without which GitHub's role may make none."
  type        = bool
  default     = false
}

# -- Keeping and removing

variable "infrequent_after_days" {
  description = "After how many days the lake's data goes to the storage class for infrequent access."
  type        = number
  default     = 60

  validation {
    condition     = var.infrequent_after_days >= 30
    error_message = "S3 takes nothing younger than 30 days there."
  }
}

variable "archive_after_days" {
  description = "After how many days the lake's data goes to the archive that still answers at once (Glacier Instant Retrieval)."
  type        = number
  default     = 180

  validation {
    condition     = var.archive_after_days >= var.infrequent_after_days + 30
    error_message = "30 days after infrequent_after_days, at least."
  }
}

variable "break_glass_principals" {
  description = "ARNs of who may take the role that removes objects of the lake, with a second factor; none is: whom the account's own policies let."
  type        = list(string)
  default     = []
}

variable "secret_recovery_days" {
  description = "For how many days a deleted secret can be had back; its name is taken for as long. 0 is none."
  type        = number
  default     = 30

  validation {
    condition     = var.secret_recovery_days == 0 || contains([for day in range(7, 31) : day], var.secret_recovery_days)
    error_message = "0, or 7 to 30."
  }
}

variable "force_destroy" {
  description = "Whether `make destroy` removes what the buckets hold, too. Never for data that matters."
  type        = bool
  default     = false
}
