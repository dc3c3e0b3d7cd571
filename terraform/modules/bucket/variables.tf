variable "name" {
  description = "Globally unique name of the bucket."
  type        = string
}

variable "key" {
  description = "ARN of the KMS key that encrypts the objects; null for S3's own key."
  type        = string
  default     = null
}

variable "statements" {
  description = "Statements of the bucket's policy; about its objects if they have neither Resource nor NotResource."
  type        = any
  default     = []
}

variable "conditional_statements" {
  description = "The same, with conditions."
  type        = any
  default     = []
}

variable "conditions" {
  description = "Whether the policy has statements with conditions, such as TLS only. False is for moto, which ignores conditions, so that such a denial would deny everything."
  type        = bool
  default     = true
}

variable "log_to" {
  description = "Bucket and prefix of the access log; null for no log."
  type        = object({ bucket = string, prefix = string })
  default     = null
}

variable "events" {
  description = "Whether EventBridge gets an event for each created object."
  type        = bool
  default     = false
}

variable "cheaper_storage" {
  description = "Days until data moves to cheaper storage; null for never."
  type        = object({ infrequent_after_days = number, archive_after_days = number })
  default     = null
}

variable "expire_days" {
  description = "Days until objects are removed; null for never."
  type        = number
  default     = null
}

variable "noncurrent_days" {
  description = "Days for which a deleted or replaced version can be recovered."
  type        = number
}

variable "object_lock" {
  description = "Mode and days of Object Lock, for which S3 keeps each version of an object; null for none."
  type        = object({ mode = string, days = number })
  default     = null
}

variable "force_destroy" {
  description = "Whether `terraform destroy` removes the bucket's objects."
  type        = bool
}
