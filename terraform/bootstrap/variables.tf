variable "region" {
  description = "AWS region of the state, the same as the platform's."
  type        = string
  default     = "eu-west-2"
}

variable "state_bucket" {
  description = "Name of the state's bucket; null for a name from account and region."
  type        = string
  default     = null
}

variable "environments" {
  description = "Names of the environments."
  type        = set(string)
  default     = ["dev", "prod"]

  validation {
    condition     = alltrue([for name in var.environments : can(regex("^[a-z][a-z0-9]{1,11}$", name))])
    error_message = "Use 2 to 12 lower-case letters and digits each, beginning with a letter."
  }

  validation {
    condition     = length(setintersection(var.environments, ["deploy", "plan", "state"])) == 0
    error_message = "Do not use deploy, plan or state: this module creates resources of these names."
  }
}

variable "github_repository" {
  description = "OWNER/REPOSITORY whose workflows plan and deploy; null for none."
  type        = string
  default     = null

  validation {
    condition     = var.github_repository == null ? true : can(regex("^[\\w.-]+/[\\w.-]+$", var.github_repository))
    error_message = "Use OWNER/REPOSITORY without wildcards."
  }
}

variable "github_owner_id" {
  description = "GitHub's ID of the repository's owner, for a repository created, renamed or transferred since 2026-07-15; null for an older one."
  type        = number
  default     = null

  validation {
    condition     = var.github_owner_id == null ? true : var.github_owner_id > 0 && floor(var.github_owner_id) == var.github_owner_id
    error_message = "Use GitHub's ID of the owner, a number."
  }

  validation {
    condition     = (var.github_owner_id == null) == (var.github_repository_id == null)
    error_message = "Set both github_owner_id and github_repository_id, or neither."
  }
}

variable "github_repository_id" {
  description = "GitHub's ID of the repository, with github_owner_id."
  type        = number
  default     = null

  validation {
    condition     = var.github_repository_id == null ? true : var.github_repository_id > 0 && floor(var.github_repository_id) == var.github_repository_id
    error_message = "Use GitHub's ID of the repository, a number."
  }
}

variable "github_provider_exists" {
  description = "Whether the account already has GitHub's OIDC provider."
  type        = bool
  default     = false
}
