variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "url" {
  description = "URL of the ECB's file of all rates."
  type        = string
  default     = "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-hist.zip"
}

variable "bucket" {
  description = "Name and ARN of the bucket of the ingestion store; the files are created below `rates/`."
  type        = object({ name = string, arn = string })
}

variable "bundle" {
  description = "The code's bucket and key, and its SHA-256 in base64."
  type        = object({ bucket = string, key = string, hash = string })
}

variable "keys" {
  description = "ARNs of the KMS keys."
  type        = object({ data = string, signals = string })
}

variable "schedule_group" {
  description = "Name of the group of its schedule."
  type        = string
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
