variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "key" {
  description = "ARN of the KMS key that encrypts the objects."
  type        = string
}

variable "stage_roles" {
  description = "ARN of each stage's role, by stage; these roles may not delete."
  type        = map(string)
}

variable "executor_roles" {
  description = "ARNs of the roles of Spark's executors, which may replace and remove `attempts` of the processed store."
  type        = list(string)
  default     = []
}

variable "attempts" {
  description = "Keys of the files that executors write, with `*`; null without executors."
  type        = string
  default     = null
}

variable "conditions" {
  description = "Whether bucket policies have denials with a condition (TLS only, create only). False is for moto, which ignores conditions, so that they would deny everything."
  type        = bool
  default     = true
}

variable "infrequent_after_days" {
  description = "Days until data moves to the storage class for infrequent access."
  type        = number
  default     = 60
}

variable "archive_after_days" {
  description = "Days until data moves to Glacier Instant Retrieval."
  type        = number
  default     = 180
}

variable "noncurrent_days" {
  description = "Days for which a deleted or replaced version can be recovered."
  type        = number
  default     = 90
}

variable "log_days" {
  description = "Retention of the access logs in days."
  type        = number
  default     = 90
}

variable "object_lock" {
  description = "Mode and days of Object Lock of the two stores; null for none."
  type        = object({ mode = string, days = number })
  default     = null
}

variable "removal_principals" {
  description = "ARNs of principals that may assume the removal role, with a second factor; if empty, the account's own policies decide."
  type        = list(string)
  default     = []
}

variable "force_destroy" {
  description = "Whether `terraform destroy` removes the objects in the buckets. Leave it false for data that matters."
  type        = bool
  default     = false
}

variable "boundary" {
  description = "ARN of the permissions boundary of all roles; null for none."
  type        = string
  default     = null
}
