variable "name" {
  description = "What all names begin with."
  type        = string
}

variable "environment_name" {
  description = "Which environment this is, as the metrics say it."
  type        = string
}

variable "alarm_email" {
  description = "Who is told; AWS asks that address once whether it wants to be."
  type        = string
}

variable "key" {
  description = "ARN of the KMS key for messages."
  type        = string
}

variable "queues" {
  description = "Name of each queue that must be empty, by what the alarm shall be called."
  type        = map(string)
}

variable "alarms" {
  description = "ARNs of the other modules' alarms, for the dashboard."
  type        = list(string)
}
