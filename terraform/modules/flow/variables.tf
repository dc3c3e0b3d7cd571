variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "functions" {
  description = "Name and ARN of each stage's function, by stage."
  type        = map(object({ name = string, arn = string }))
}

variable "buckets" {
  description = "Names of the buckets of the two stores."
  type        = object({ ingestion = string, processed = string })
}

variable "every_minutes" {
  description = "Minutes between two scheduled calls, by stage."
  type        = map(number)

  validation {
    condition     = alltrue([for minutes in values(var.every_minutes) : minutes >= 1 && floor(minutes) == minutes])
    error_message = "Use whole minutes, at least 1, as EventBridge Scheduler requires."
  }
}

variable "enabled" {
  description = "Whether schedules and rules are enabled."
  type        = bool
  default     = true
}

variable "boundary" {
  description = "ARN of the permissions boundary of all roles; null for none."
  type        = string
  default     = null
}
