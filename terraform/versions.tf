# Exact. No lock file is kept, as it would name the registry of one machine: provider-hashes.txt has its hashes.
terraform {
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "= 5.100.0"
    }
  }
}
