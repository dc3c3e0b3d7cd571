variable "name" {
  description = "Prefix of all names, and the name of load balancer and firewall."
  type        = string
}

variable "domain" {
  description = "Name at which users open the dashboard, such as totes.example."
  type        = string
}

variable "certificate_arn" {
  description = "ARN of the domain's certificate in ACM, in this region."
  type        = string
}

variable "clients" {
  description = "CIDR blocks from which users may open the dashboard."
  type        = list(string)
}

variable "sign_in" {
  description = "Where users sign in: at a user pool of Cognito, or at another provider of OpenID Connect."
  type = object({
    cognito = optional(object({ user_pool_arn = string, client_id = string, domain = string }))
    oidc = optional(object({
      issuer                 = string
      authorization_endpoint = string
      token_endpoint         = string
      user_info_endpoint     = string
      client_id              = string
    }))
  })
}

variable "settings" {
  description = "Settings of the dashboard, TOTES_DASHBOARD_…; those that it needs on Fargate are added."
  type        = map(string)
}

variable "tasks" {
  description = "Number of tasks."
  type        = number
}

variable "cpu" {
  description = "CPU units of a task; 1024 is one vCPU."
  type        = number
}

variable "memory_mb" {
  description = "Memory of a task in MB."
  type        = number
}

variable "deletion_protection" {
  description = "Whether the load balancer is protected from deletion."
  type        = bool
}

variable "vpc" {
  description = "ID of the VPC."
  type        = string
}

variable "subnets" {
  description = "IDs of the private subnets of the tasks."
  type        = list(string)
}

variable "public_subnets" {
  description = "ID and CIDR block of the public subnets of the load balancer, in at least two zones."
  type        = list(object({ id = string, cidr = string }))
}

variable "security_group" {
  description = "ID of the security group of the tasks."
  type        = string
}

variable "cluster" {
  description = "ARN of the cluster."
  type        = string
}

variable "image" {
  description = "Image of the tasks, with its tag."
  type        = string
}

variable "execution_role" {
  description = "ARN of the role that pulls the image and writes the log."
  type        = string
}

variable "log_group" {
  description = "Name of the log group of the tasks."
  type        = string
}

variable "login_secret" {
  description = "ARN of the secret with the login that reads the warehouse."
  type        = string
}

variable "keys" {
  description = "ARNs of the KMS keys."
  type        = object({ data = string, secrets = string, signals = string })
}

variable "access_logs" {
  description = "Name of the bucket of access logs, in which the load balancer may write below `dashboard/`."
  type        = string
}

variable "log_days" {
  description = "Retention of the firewall's log in days."
  type        = number
}

variable "boundary" {
  description = "ARN of the permissions boundary of all roles; null for none."
  type        = string
  default     = null
}
