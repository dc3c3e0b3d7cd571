variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "secrets" {
  description = "Purpose of each secret, by name."
  type        = map(string)
}

variable "key" {
  description = "ARN of the KMS key that encrypts them."
  type        = string
}

variable "recovery_window_days" {
  description = "Days for which a deleted secret can be recovered and its name is reserved; 0 for none."
  type        = number
}
