variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "environment_name" {
  description = "Name of the environment in the dimensions of metrics."
  type        = string
}

variable "stage" {
  description = "Name of the stage: `ingest`, `transform` or `load`."
  type        = string

  validation {
    condition     = contains(["ingest", "transform", "load"], var.stage)
    error_message = "Use ingest, transform or load."
  }
}

variable "bundle" {
  description = "The code's bucket and key, and its SHA-256 in base64."
  type        = object({ bucket = string, key = string, hash = string })
}

variable "environment" {
  description = "Settings of this stage, TOTES_…; those that all stages have are added."
  type        = map(string)
}

variable "listable_buckets" {
  description = "ARNs of the buckets that it may list."
  type        = list(string)
}

variable "readable_objects" {
  description = "ARNs of the objects that it may read, with `*`."
  type        = list(string)
}

variable "creatable_objects" {
  description = "ARNs of the objects that it may create, with `*`; the bucket's policy prevents replacing any."
  type        = list(string)
  default     = []
}

variable "secret" {
  description = "ARN of the secret with its login; null for none."
  type        = string
  default     = null
}

variable "spark" {
  description = "ARNs of the application whose jobs it may start, and of their role; null for none."
  type        = object({ application = string, role = string })
  default     = null
}

variable "keys" {
  description = "ARNs of the KMS keys."
  type        = object({ data = string, secrets = string, signals = string })
}

variable "alert_topic" {
  description = "ARN of the SNS topic for the stage's own messages."
  type        = string
}

variable "network" {
  description = "Subnets and security group of the function; null for none."
  type        = object({ subnets = list(string), security_group = string })
  default     = null
}

variable "memory_mb" {
  description = "Memory in MB; it determines the share of the processor, a whole one at 1769 MB."
  type        = number
}

variable "scratch_mb" {
  description = "Size of /tmp in MB; the largest batch must fit."
  type        = number
}

variable "every_minutes" {
  description = "Minutes between two scheduled calls."
  type        = number
}

variable "unavailable_metric" {
  description = "Metric of the stage that is 1 while its database is unavailable; null if it has none."
  type        = string
  default     = null
}

variable "reserved_concurrency" {
  description = "Reserved concurrency, which is also the limit; null reserves none."
  type        = number
  default     = null
}

variable "log_days" {
  description = "Retention of the log in days."
  type        = number
}

variable "tracing" {
  description = "Whether X-Ray traces each call."
  type        = bool
}

variable "boundary" {
  description = "ARN of the permissions boundary of all roles; null for none."
  type        = string
  default     = null
}
