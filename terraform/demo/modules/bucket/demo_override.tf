resource "aws_s3_bucket_lifecycle_configuration" "this" {
  count = 0 # moto does not store a filter by size, and the provider would wait for it
}

resource "aws_s3_bucket_notification" "this" {
  lifecycle {
    ignore_changes = [eventbridge] # moto stores it and delivers, but does not return it
  }
}
