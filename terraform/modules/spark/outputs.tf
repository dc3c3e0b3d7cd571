output "application" {
  description = "ID and ARN of the application."
  value = {
    id  = aws_emrserverless_application.this.id
    arn = aws_emrserverless_application.this.arn
  }
}

output "role" {
  description = "ARN of the jobs' role."
  value       = aws_iam_role.this.arn
}

output "program" {
  description = "URL of the folder with the jobs' program and packages."
  value       = "s3://${aws_s3_object.packages.bucket}/${dirname(aws_s3_object.packages.key)}"
  depends_on  = [aws_s3_object.job]
}

output "log_group" {
  description = "Name of the jobs' log group."
  value       = aws_cloudwatch_log_group.this.name
}

output "policy" {
  description = "Policy of the jobs' role, as JSON."
  value       = aws_iam_role_policy.this.policy
}
