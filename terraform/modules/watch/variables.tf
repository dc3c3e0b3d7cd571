variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "environment_name" {
  description = "Name of the environment in the dimensions of metrics."
  type        = string
}

variable "alarm_email" {
  description = "E-mail address for alarms; AWS asks it once to confirm the subscription."
  type        = string
}

variable "key" {
  description = "ARN of the KMS key for messages."
  type        = string
}

variable "queues" {
  description = "Names of the queues that must be empty, by the name of their alarm."
  type        = map(string)
}

variable "alarms" {
  description = "ARNs of other modules' alarms, for the dashboard."
  type        = list(string)
}
