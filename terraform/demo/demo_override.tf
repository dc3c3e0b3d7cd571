# Overrides for `make aws-demo`, which applies these modules to moto. An override file contains only
# what moto can't do or what the provider waits long for, each with its reason.

terraform {
  backend "s3" { # in moto; in a file, Terraform would write the whole state after each resource
    bucket                      = "terraform-state"
    key                         = "platform"
    use_lockfile                = true
    use_path_style              = true
    skip_credentials_validation = true
  }
}

provider "aws" {
  s3_use_path_style           = true # moto has one host name for all buckets
  skip_credentials_validation = true # there is no account; AWS_ENDPOINT_URL names moto
}

module "catalogue" {
  saved_queries = false # moto can't delete them
}
