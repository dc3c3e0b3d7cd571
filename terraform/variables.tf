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

# -- Keeping and removing

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
