variable "name" {
  description = "What all names begin with."
  type        = string
}

variable "functions" {
  description = "Name and ARN of each stage's function, by stage."
  type        = map(object({ name = string, arn = string }))
}

variable "buckets" {
  description = "Names of the two stores' buckets."
  type        = object({ ingestion = string, processed = string })
}

variable "every_minutes" {
  description = "Every how many minutes each stage is called, by stage."
  type        = map(number)

  validation {
    condition     = alltrue([for minutes in values(var.every_minutes) : minutes >= 1 && floor(minutes) == minutes])
    error_message = "EventBridge Scheduler counts whole minutes, 1 at least."
  }
}

variable "enabled" {
  description = "Whether schedules and rules call at all."
  type        = bool
  default     = true
}

variable "key" {
  description = "ARN of the KMS key for what could not be delivered."
  type        = string
}

variable "boundary" {
  description = "ARN of the policy that bounds what a role made here can do; null is none."
  type        = string
  default     = null
}
