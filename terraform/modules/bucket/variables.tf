variable "name" {
  description = "Name of the bucket, one in all the world."
  type        = string
}

variable "key" {
  description = "ARN of the KMS key that encrypts what it holds; null is S3's own key."
  type        = string
  default     = null
}

variable "statements" {
  description = "Statements of the bucket's policy about its objects, without conditions and Resource."
  type        = any
  default     = []
}

variable "conditional_statements" {
  description = "Statements about its objects that have conditions, without Resource."
  type        = any
  default     = []
}

variable "conditions" {
  description = "Whether the policy has statements with conditions, TLS only among them. False is for a service that overlooks conditions, moto, where such a denial would deny everything."
  type        = bool
  default     = true
}

variable "log_to" {
  description = "Bucket and prefix of the log of accesses; null is no log."
  type        = object({ bucket = string, prefix = string })
  default     = null
}

variable "events" {
  description = "Whether EventBridge is told of every object that is created."
  type        = bool
  default     = false
}

variable "cheaper_storage" {
  description = "After how many days data goes to cheaper storage; null is never."
  type        = object({ infrequent_after_days = number, archive_after_days = number })
  default     = null
}

variable "expire_days" {
  description = "After how many days objects are removed; null is never."
  type        = number
  default     = null
}

variable "noncurrent_days" {
  description = "For how many days a version that was deleted or replaced can be had back."
  type        = number
}

variable "force_destroy" {
  description = "Whether `terraform destroy` removes what the bucket holds."
  type        = bool
}
