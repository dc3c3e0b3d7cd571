variable "name" {
  description = "What all names begin with."
  type        = string
}

variable "cidr" {
  description = "Addresses of the network, a /16 to /24."
  type        = string
}

variable "zones" {
  description = "In how many availability zones the private subnets are."
  type        = number
}

variable "endpoint_zones" {
  description = "In how many of them each endpoint is; every one costs by the hour."
  type        = number
}

variable "source_access" {
  description = "How totesys is reached: `peering`, `nat`, or `none` where whoever runs the network sees to it."
  type        = string
}

variable "source_address" {
  description = "Addresses of totesys (CIDR), to which ingest may go; null is nowhere."
  type        = string
}

variable "source_port" {
  description = "Port of totesys."
  type        = number
}

variable "source_vpc" {
  description = "For peering: totesys' VPC, its addresses, and its account and region where they are not ours."
  type = object({
    id      = string
    cidr    = string
    account = optional(string)
    region  = optional(string)
  })
  default = null
}

variable "warehouse_clients" {
  description = "Addresses (CIDR) that may connect to the warehouse besides load."
  type        = list(string)
}

variable "log_days" {
  description = "For how many days the log of what was turned away is kept."
  type        = number
}

variable "key" {
  description = "ARN of the KMS key for the log."
  type        = string
}

variable "boundary" {
  description = "ARN of the policy that bounds what a role made here can do; null is none."
  type        = string
  default     = null
}
