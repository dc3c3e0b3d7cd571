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
}

variable "secrets" {
  description = "ARNs of the secrets with its logins."
  type        = list(string)
}

variable "alert_topic" {
  description = "ARN of the SNS topic for alerts."
  type        = string
}

variable "keys" {
  description = "ARNs of the KMS keys."
  type        = object({ data = string, secrets = string, signals = string })
}
