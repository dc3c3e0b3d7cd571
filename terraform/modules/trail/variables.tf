variable "name" {
  description = "Prefix of all names, and the name of the trail, which the key's policy has."
  type        = string
}

variable "buckets" {
  description = "ARNs of the buckets whose objects are watched."
  type        = list(string)
}

variable "key" {
  description = "ARN of the KMS key that encrypts the trail's files."
  type        = string
}

variable "access_logs" {
  description = "Name of the bucket of access logs."
  type        = string
}

variable "log_days" {
  description = "Retention of the trail's files in days."
  type        = number
}

variable "force_destroy" {
  description = "Whether `terraform destroy` removes the trail's files."
  type        = bool
}
