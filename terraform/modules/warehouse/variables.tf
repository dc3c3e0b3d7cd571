variable "name" {
  description = "What all names begin with, and the instance's own."
  type        = string
}

variable "subnets" {
  description = "IDs of the private subnets, in two zones at least."
  type        = list(string)
}

variable "security_group" {
  description = "ID of the security group that lets load in."
  type        = string
}

variable "keys" {
  description = "ARNs of the KMS keys."
  type        = object({ data = string, secrets = string, signals = string })
}

variable "alert_topic" {
  description = "ARN of the SNS topic that alarms tell."
  type        = string
}

variable "major_version" {
  description = "PostgreSQL's major version, 15 or newer."
  type        = string
}

variable "instance_class" {
  description = "RDS' name of the machine."
  type        = string
}

variable "storage_gb" {
  description = "Storage to begin with."
  type        = number
}

variable "max_storage_gb" {
  description = "How far storage may grow by itself."
  type        = number
}

variable "multi_az" {
  description = "Whether a second instance stands by in another zone."
  type        = bool
}

variable "backup_days" {
  description = "For how many days it can be restored to any moment."
  type        = number
}

variable "deletion_protection" {
  description = "Whether it can't be deleted, and leaves a snapshot once it is."
  type        = bool
}

variable "log_days" {
  description = "For how many days its logs are kept."
  type        = number
}

variable "boundary" {
  description = "ARN of the policy that bounds what a role made here can do; null is none."
  type        = string
  default     = null
}
