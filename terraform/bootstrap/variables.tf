variable "region" {
  description = "AWS region of the state, the platform's own."
  type        = string
  default     = "eu-west-2"
}

variable "state_bucket" {
  description = "Name of the state's bucket; null is one made of account and region."
  type        = string
  default     = null
}

variable "environments" {
  description = "Which environments there will be."
  type        = set(string)
  default     = ["dev", "prod"]

  validation {
    condition     = alltrue([for name in var.environments : can(regex("^[a-z][a-z0-9]{1,11}$", name))])
    error_message = "2 to 12 small letters and digits each, a letter first."
  }

  validation {
    condition     = length(setintersection(var.environments, ["deploy", "plan", "state"])) == 0
    error_message = "deploy, plan and state are what is made here."
  }
}

variable "github_repository" {
  description = "OWNER/REPOSITORY whose workflows plan and deploy; null is none."
  type        = string
  default     = null

  validation {
    condition     = var.github_repository == null ? true : can(regex("^[\\w.-]+/[\\w.-]+$", var.github_repository))
    error_message = "OWNER/REPOSITORY, without wildcards."
  }
}

variable "github_provider_exists" {
  description = "Whether the account knows GitHub's OIDC provider already."
  type        = bool
  default     = false
}
