variable "name" {
  description = "What all names begin with."
  type        = string
}

variable "secrets" {
  description = "Name of each secret, and what it is for."
  type        = map(string)
}

variable "key" {
  description = "ARN of the KMS key that encrypts them."
  type        = string
}

variable "recovery_window_days" {
  description = "For how many days a deleted secret can be had back, and keeps its name; 0 is none."
  type        = number
}
