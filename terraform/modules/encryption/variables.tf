variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "deletion_window_days" {
  description = "Days for which a deleted key can be recovered."
  type        = number
  default     = 30
}
