resource "aws_s3_bucket_lifecycle_configuration" "results" {
  count = 0 # the provider waits 50 seconds for it to become stable; terraform/tests check it
}
