variable "environment" {
  description = "Name of the environment, which is part of all names."
  type        = string
}

variable "ingestion_bucket" {
  description = "Name of the bucket of the ingestion store."
  type        = string
}

variable "processed_bucket" {
  description = "Name of the bucket of the processed store."
  type        = string
}

variable "results_bucket" {
  description = "Name of the bucket for query results, which this module creates."
  type        = string
}

variable "kms_key_arn" {
  description = "ARN of the KMS key that encrypts both stores and the query results."
  type        = string
}

variable "iceberg" {
  description = "Database and bucket of the star's Iceberg tables, which take the place of the processed store's tables and views; null for none."
  type        = object({ database = string, bucket = string })
  default     = null
}

variable "first_year" {
  description = "Year of the first capture; earlier partitions are not projected. A query without a filter makes a request to S3 for each day since."
  type        = number
  default     = 2026

  validation {
    condition     = var.first_year >= 2020 && var.first_year <= 2100
    error_message = "Use a year from 2020 to 2100."
  }
}

variable "generations" {
  description = "Number of projected generations of processed data: each replay creates one. If the current generation is beyond it, queries fail with an error that names this variable."
  type        = number
  default     = 4

  validation {
    condition     = var.generations >= 1 && var.generations <= 1000 && floor(var.generations) == var.generations
    error_message = "Use 1 to 1000 generations."
  }
}

variable "bytes_scanned_cutoff" {
  description = "Maximum bytes that a query may scan."
  type        = number
  default     = 10737418240 # 10 GiB, about 5 cents

  validation {
    condition     = var.bytes_scanned_cutoff >= 10485760
    error_message = "Use at least 10485760 bytes, as Athena requires."
  }
}

variable "results_days" {
  description = "Days until query results are removed."
  type        = number
  default     = 7

  validation {
    condition     = var.results_days >= 1
    error_message = "Use at least 1 day."
  }
}

variable "saved_queries" {
  description = "Whether to create the saved queries."
  type        = bool
  default     = true
}
