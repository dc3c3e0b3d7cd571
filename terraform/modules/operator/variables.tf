variable "name" {
  description = "What all names begin with."
  type        = string
}

variable "vpc" {
  description = "ID of the network."
  type        = string
}

variable "subnet" {
  description = "ID of the private subnet it is in."
  type        = string
}

variable "warehouse_security_group" {
  description = "ID of the warehouse's security group."
  type        = string
}

variable "boundary" {
  description = "ARN of the policy that bounds what a role made here can do; null is none."
  type        = string
  default     = null
}
