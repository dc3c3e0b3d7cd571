variable "name" {
  description = "What all names begin with."
  type        = string
}

variable "deletion_window_days" {
  description = "For how many days a key that was deleted can be had back."
  type        = number
  default     = 30
}
