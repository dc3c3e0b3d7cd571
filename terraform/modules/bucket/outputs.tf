output "name" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.id
}

output "arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}

output "governed" {
  description = "Name of the bucket, available once its policy is in force."
  value       = aws_s3_bucket.this.id
  depends_on  = [aws_s3_bucket_policy.this]
}

output "locked" {
  description = "Whether Object Lock keeps its objects."
  value       = length(aws_s3_bucket_object_lock_configuration.this) > 0
}

output "policy" {
  description = "Statements of the bucket's policy."
  value       = local.statements
}
