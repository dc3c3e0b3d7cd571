variable "name" {
  description = "Prefix of all names, and the application's name."
  type        = string
}

variable "release" {
  description = "Release of EMR, with the version of Spark that pyproject.toml pins."
  type        = string
  default     = "emr-spark-8.1.0" # Spark 4.1.1, Java 17, Python 3.12; supported for 36 months
}

variable "package" {
  description = "Path of the jobs' packages, which `make spark-package` builds."
  type        = string
}

variable "artefacts_bucket" {
  description = "Name of the bucket for program and packages."
  type        = string
}

variable "stores" {
  description = "ARNs of the buckets of the two stores."
  type        = object({ ingestion = string, processed = string })
}

variable "attempts" {
  description = "Keys of the files that executors write, with `*`: no manifest names them yet."
  type        = string
}

variable "max_vcpu" {
  description = "Number of vCPUs that all jobs together may use, each with 4 GB of memory."
  type        = number
}

variable "network" {
  description = "Subnets and security group of the workers."
  type        = object({ subnets = list(string), security_group = string })
}

variable "keys" {
  description = "ARNs of the KMS keys."
  type        = object({ data = string, secrets = string, signals = string })
}

variable "log_days" {
  description = "Retention of the log in days."
  type        = number
}

variable "boundary" {
  description = "ARN of the permissions boundary of all roles; null for none."
  type        = string
  default     = null
}
