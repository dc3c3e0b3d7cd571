variable "name" {
  description = "Prefix of all names, and the name of the instance."
  type        = string
}

variable "subnets" {
  description = "IDs of the private subnets, in at least two zones."
  type        = list(string)
}

variable "security_group" {
  description = "ID of the security group that allows connections of load."
  type        = string
}

variable "keys" {
  description = "ARNs of the KMS keys."
  type        = object({ data = string, secrets = string, signals = string })
}

variable "major_version" {
  description = "Major version of PostgreSQL, 15 or newer."
  type        = string
}

variable "allow_major_version_upgrade" {
  description = "Whether RDS may change the major version of an existing instance."
  type        = bool
}

variable "apply_immediately" {
  description = "Whether changes that interrupt connections are made at once, and not in the maintenance window."
  type        = bool
}

variable "instance_class" {
  description = "RDS instance class."
  type        = string
}

variable "storage_gb" {
  description = "Initial storage in GB."
  type        = number
}

variable "max_storage_gb" {
  description = "Maximum storage in GB to which it grows automatically."
  type        = number
}

variable "multi_az" {
  description = "Whether there is a standby instance in another zone."
  type        = bool
}

variable "backup_days" {
  description = "Days for which it can be restored to any point in time."
  type        = number
}

variable "deletion_protection" {
  description = "Whether it is protected from deletion."
  type        = bool
}

variable "final_snapshot" {
  description = "Whether deleting it keeps its backups and a final snapshot."
  type        = bool
}

variable "log_days" {
  description = "Retention of its logs in days."
  type        = number
}

variable "boundary" {
  description = "ARN of the permissions boundary of all roles; null for none."
  type        = string
  default     = null
}
