variable "name" {
  description = "Prefix of all names."
  type        = string
}

variable "environment" {
  description = "Name of the environment, which is part of the database's name."
  type        = string
}

variable "key" {
  description = "ARN of the KMS key that encrypts the files."
  type        = string
}

variable "access_logs" {
  description = "Name of the bucket of access logs."
  type        = string
}

variable "publisher_role" {
  description = "Name of the role of the task that publishes."
  type        = string
}

variable "cluster" {
  description = "ARN of the cluster in which that task runs."
  type        = string
}
