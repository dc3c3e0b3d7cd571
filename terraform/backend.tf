# Where the state is: a bucket made by bootstrap/, with its own lock files. Bucket, region and key are
# given at init (`make plan` does), so that each environment has a state of its own.
terraform {
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}
