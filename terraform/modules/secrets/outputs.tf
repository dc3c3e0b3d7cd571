output "arns" {
  description = "ARN of each secret, by its name."
  value       = { for name, secret in aws_secretsmanager_secret.this : name => secret.arn }
}
