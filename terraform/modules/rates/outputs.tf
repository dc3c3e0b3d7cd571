output "function" {
  description = "Name of the function."
  value       = aws_lambda_function.this.function_name
}

output "role" {
  description = "ARN of its role."
  value       = aws_iam_role.this.arn
}

output "policy" {
  description = "Policy of its role, as JSON."
  value       = aws_iam_role_policy.this.policy
}

output "url" {
  description = "Where ingest finds the files: its TOTES_RATES_URL."
  value       = "s3://${var.bucket.name}/rates"
}
