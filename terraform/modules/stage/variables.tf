variable "name" {
  description = "What all names begin with."
  type        = string
}

variable "environment_name" {
  description = "Which environment this is, as the metrics say it."
  type        = string
}

variable "stage" {
  description = "Which stage: `ingest`, `transform` or `load`."
  type        = string

  validation {
    condition     = contains(["ingest", "transform", "load"], var.stage)
    error_message = "The stages are ingest, transform and load."
  }
}

variable "bundle" {
  description = "Where the code is: bucket, key, and the base64 of its SHA-256."
  type        = object({ bucket = string, key = string, hash = string })
}

variable "environment" {
  description = "The settings of this stage, TOTES_…; those that all stages have are added."
  type        = map(string)
}

variable "lists" {
  description = "ARNs of the buckets in which it looks for objects."
  type        = list(string)
}

variable "reads" {
  description = "ARNs of the objects it may read, with `*`."
  type        = list(string)
}

variable "creates" {
  description = "ARNs of the objects it may create, with `*`; the bucket's policy lets it replace none."
  type        = list(string)
  default     = []
}

variable "secret" {
  description = "ARN of the secret with the login it needs; none is null."
  type        = string
  default     = null
}

variable "keys" {
  description = "ARNs of the KMS keys."
  type        = object({ data = string, secrets = string, signals = string })
}

variable "alert_topic" {
  description = "ARN of the SNS topic that stage and alarms tell."
  type        = string
}

variable "network" {
  description = "Subnets and security group the function runs in; null is outside of any network."
  type        = object({ subnets = list(string), security_group = string })
  default     = null
}

variable "memory_mb" {
  description = "Memory; processor time grows with it, one whole at 1769."
  type        = number
}

variable "scratch_mb" {
  description = "Room in /tmp, at least for the largest batch."
  type        = number
}

variable "timeout_seconds" {
  description = "After how long a call is ended; the stage stops between batches before that."
  type        = number
  default     = 900
}

variable "retries" {
  description = "How often Lambda calls again for an event that failed."
  type        = number
  default     = 2
}

variable "reserved_concurrency" {
  description = "How many calls at once, at most, and kept free for it; null reserves nothing."
  type        = number
  default     = null
}

variable "log_days" {
  description = "For how many days the log is kept."
  type        = number
}

variable "tracing" {
  description = "Whether X-Ray traces each call."
  type        = bool
}

variable "boundary" {
  description = "ARN of the policy that bounds what a role made here can do; null is none."
  type        = string
  default     = null
}
