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

variable "flow_enabled" {
  description = "Whether schedules and events call the stages; if not, alarms that depend on it send nothing."
  type        = bool
}

variable "functions" {
  description = "Name of each stage's function."
  type        = map(string)
}

variable "stage_alarms" {
  description = "Names of each stage's alarms, by stage and alarm."
  type        = map(map(string))
}

variable "warehouse_alarms" {
  description = "Names of the warehouse's alarms `storage` and `cpu`; empty without a warehouse of ours."
  type        = map(string)
}

variable "source_alarms" {
  description = "Names of the alarms on totesys, by the name of their mail."
  type        = map(string)
}

variable "dashboard_alarms" {
  description = "Names of the alarms of the dashboard on Fargate; empty without it."
  type        = map(string)
}

variable "iceberg_alarms" {
  description = "Name of the alarm on tasks that fail to publish Iceberg tables, by the name of its mail; empty without these."
  type        = map(string)
}

variable "rates_enabled" {
  description = "Whether exchange rates are fetched."
  type        = bool
}

variable "spark_log" {
  description = "Name of the log group of Spark's jobs; null without Spark."
  type        = string
}

variable "spark_slow_hours" {
  description = "Hours after which a job of Spark is reported."
  type        = number
}

variable "verify_cron" {
  description = "When the warehouse is compared with totesys; null for never."
  type        = string
}
