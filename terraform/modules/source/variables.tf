variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "instance" {
  description = "The RDS instance of totesys: its identifier, its major version of PostgreSQL, and the most log in MB that a slot may retain."
  type        = object({ identifier = string, major_version = string, retain_mb = number })
}

variable "alarm_mb" {
  description = "Size in MB of the log that a slot retains at which the alarm fires."
  type        = number
}
