variable "name" {
  description = "What all names begin with."
  type        = string
}

variable "key" {
  description = "ARN of the KMS key that encrypts what the buckets hold."
  type        = string
}

variable "stage_roles" {
  description = "ARN of each stage's role, by stage: those that never delete."
  type        = map(string)
}

variable "conditions" {
  description = "Whether bucket policies have denials with a condition (TLS only, create only). False is for a service that overlooks conditions, moto, where they would deny everything."
  type        = bool
  default     = true
}

variable "infrequent_after_days" {
  description = "After how many days data goes to the storage class for infrequent access."
  type        = number
  default     = 60
}

variable "archive_after_days" {
  description = "After how many days data goes to the archive that still answers at once."
  type        = number
  default     = 180
}

variable "noncurrent_days" {
  description = "For how many days a version that was deleted or replaced can be had back."
  type        = number
  default     = 90
}

variable "log_days" {
  description = "For how many days the log of accesses is kept."
  type        = number
  default     = 90
}

variable "break_glass_principals" {
  description = "ARNs of who may take the break-glass role, with a second factor; none is: whom the account's own policies let."
  type        = list(string)
  default     = []
}

variable "force_destroy" {
  description = "Whether `terraform destroy` removes what the buckets hold. Never for data that matters."
  type        = bool
  default     = false
}

variable "boundary" {
  description = "ARN of the policy that bounds what a role made here can do; null is none."
  type        = string
  default     = null
}
