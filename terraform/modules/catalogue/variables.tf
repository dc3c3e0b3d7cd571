variable "environment" {
  description = "Name of the environment, part of every name here."
  type        = string
}

variable "ingestion_bucket" {
  description = "Name of the bucket that is the ingestion store."
  type        = string
}

variable "processed_bucket" {
  description = "Name of the bucket that is the processed store."
  type        = string
}

variable "results_bucket" {
  description = "Name of the bucket for the results of queries; made here."
  type        = string
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts both stores, and now the results of queries."
  type        = string
}

variable "first_year" {
  description = "The year of the first capture: partitions before it are not looked for."
  type        = number
  default     = 2026

  validation {
    condition     = var.first_year >= 2020 && var.first_year <= 2100
    error_message = "The year of the first capture must be from 2020 to 2100."
  }
}

variable "years" {
  description = "For how many years partitions are projected: a query without a filter asks S3 for each day of them."
  type        = number
  default     = 5

  validation {
    condition     = var.years >= 1 && var.years <= 50 && floor(var.years) == var.years
    error_message = "Partitions can be projected for 1 to 50 years."
  }
}

variable "generations" {
  description = "How many generations of processed data are projected: each replay makes one. Queries fail with a word where the current one is beyond."
  type        = number
  default     = 4

  validation {
    condition     = var.generations >= 1 && var.generations <= 1000 && floor(var.generations) == var.generations
    error_message = "1 to 1000 generations can be projected."
  }
}

variable "bytes_scanned_cutoff" {
  description = "The most bytes one query may scan before Athena ends it."
  type        = number
  default     = 10737418240 # 10 GiB, some 5 cents

  validation {
    condition     = var.bytes_scanned_cutoff >= 10485760
    error_message = "Athena's smallest cap is 10485760 bytes."
  }
}

variable "results_days" {
  description = "After how many days the results of queries are removed."
  type        = number
  default     = 7

  validation {
    condition     = var.results_days >= 1
    error_message = "Results are kept for a day at least."
  }
}

variable "saved_queries" {
  description = "Whether the workgroup gets its saved queries."
  type        = bool
  default     = true
}
