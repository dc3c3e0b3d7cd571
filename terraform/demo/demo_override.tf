# What differs where `make aws-demo` applies these modules to moto. An override file may hold only
# what moto can't do, each line with its reason.

terraform {
  backend "local" {} # the state is thrown away with the scratch folder
}

provider "aws" {
  s3_use_path_style           = true # moto has one host name for all buckets
  skip_credentials_validation = true # there is nobody to ask; AWS_ENDPOINT_URL names moto for all else
}

module "catalogue" {
  saved_queries = false # moto can't delete them
}
