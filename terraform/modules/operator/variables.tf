variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "vpc" {
  description = "ID of the VPC."
  type        = string
}

variable "subnet" {
  description = "ID of the instance's private subnet."
  type        = string
}

variable "warehouse_security_group" {
  description = "ID of the warehouse's security group."
  type        = string
}

variable "boundary" {
  description = "ARN of the permissions boundary of all roles; null for none."
  type        = string
  default     = null
}
