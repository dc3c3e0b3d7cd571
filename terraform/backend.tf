# Where the state is: a bucket made by bootstrap/, with its own lock files. Bucket, region and key are
# given at init (`make plan` does), so that each environment has a state of its own. Without the key's name,
# `encrypt` would replace the bucket's default, which is this key, by one of S3.
terraform {
  backend "s3" {
    encrypt      = true
    kms_key_id   = "alias/totes-state"
    use_lockfile = true
  }
}
