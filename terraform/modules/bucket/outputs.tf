output "name" {
  description = "Name of the bucket."
  value       = aws_s3_bucket.this.id
}

output "arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}

output "governed" {
  description = "Name of the bucket, known once its policy holds: for whom the policy lets in."
  value       = aws_s3_bucket.this.id
  depends_on  = [aws_s3_bucket_policy.this]
}

output "policy" {
  description = "The statements of its policy."
  value       = local.statements
}
