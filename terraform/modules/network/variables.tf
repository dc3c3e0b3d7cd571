variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "cidr" {
  description = "CIDR block of the VPC, a /16 to /24."
  type        = string
}

variable "zones" {
  description = "Number of availability zones with private subnets."
  type        = number
}

variable "endpoint_zones" {
  description = "Number of zones with endpoints; each endpoint is charged by the hour."
  type        = number
}

variable "source_access" {
  description = "How totesys is reached: `peering`, `nat`, or `none` if the network has a route of its own."
  type        = string
}

variable "source_address" {
  description = "CIDR block of totesys, which ingest and tasks may connect to; null for none."
  type        = string
}

variable "source_port" {
  description = "Port of totesys."
  type        = number
}

variable "source_vpc" {
  description = "For peering: VPC and CIDR block of totesys, and its account and region if they differ."
  type = object({
    id      = string
    cidr    = string
    account = optional(string)
    region  = optional(string)
  })
  default = null
}

variable "tasks" {
  description = "Whether tasks run in the network, which need a security group and more endpoints."
  type        = bool
}

variable "dashboard" {
  description = "Whether the dashboard runs in the network, which needs a security group and, for its load balancer, public subnets."
  type        = bool
  default     = false
}

variable "spark" {
  description = "Whether Spark runs in the network, which needs a security group and more endpoints."
  type        = bool
  default     = false
}

variable "glue" {
  description = "Whether tasks use the catalogue of Glue, which needs an endpoint."
  type        = bool
  default     = false
}

variable "warehouse_clients" {
  description = "CIDR blocks that may connect to the warehouse, in addition to load and tasks."
  type        = list(string)
}

variable "log_days" {
  description = "Retention of the log of rejected connections in days."
  type        = number
}

variable "key" {
  description = "ARN of the KMS key for the log."
  type        = string
}

variable "boundary" {
  description = "ARN of the permissions boundary of all roles; null for none."
  type        = string
  default     = null
}
