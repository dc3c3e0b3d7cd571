variable "name" {
  description = "Prefix of all names, and the name of cluster and repository."
  type        = string
}

variable "image_tag" {
  description = "Tag of the image that tasks run; null if none was built, then tasks can't start."
  type        = string
  default     = null
}

variable "kept_images" {
  description = "Number of images that the repository keeps."
  type        = number
  default     = 20
}

variable "cpu" {
  description = "CPU units of the task; 1024 is one vCPU."
  type        = number
}

variable "memory_mb" {
  description = "Memory of the task in MB."
  type        = number
}

variable "scratch_gb" {
  description = "Temporary storage of a task in GB."
  type        = number
}

variable "environment" {
  description = "Settings of the task, TOTES_…; those that it needs on Fargate are added."
  type        = map(string)
}

variable "listable_buckets" {
  description = "ARNs of the buckets that the task may list."
  type        = list(string)
}

variable "readable_objects" {
  description = "ARNs of the objects that the task may read, with `*`."
  type        = list(string)
}

variable "creatable_objects" {
  description = "ARNs of the objects that the task may create, with `*`."
  type        = list(string)
}

variable "secrets" {
  description = "ARNs of the secrets with the task's logins."
  type        = list(string)
}

variable "create" {
  description = "For the task that creates the warehouse's roles: the host of RDS, and ARNs of the master's secret and of those that get a login; null for none."
  type        = object({ host = string, master_secret = string, warehouse_secret = string, reader_secret = string })
  default     = null
}

variable "verify_cron" {
  description = "When the warehouse is compared with totesys, as the six fields of a cron expression in UTC; null for never."
  type        = string
  default     = null
}

variable "publish_cron" {
  description = "When new batches are published as Iceberg tables, in the same form; null for never."
  type        = string
  default     = null
}

variable "enabled" {
  description = "Whether the schedule is enabled; tasks can be started by hand in any case."
  type        = bool
}

variable "schedule_group" {
  description = "Name of the group of schedules."
  type        = string
}

variable "network" {
  description = "Subnets and security group of scheduled tasks."
  type        = object({ subnets = list(string), security_group = string })
}

variable "alert_topic" {
  description = "ARN of the SNS topic for alerts."
  type        = string
}

variable "keys" {
  description = "ARNs of the KMS keys."
  type        = object({ data = string, secrets = string, signals = string })
}

variable "log_days" {
  description = "Retention of the log in days."
  type        = number
}

variable "boundary" {
  description = "ARN of the permissions boundary of all roles; null for none."
  type        = string
  default     = null
}
