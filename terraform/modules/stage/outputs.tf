output "function" {
  description = "Name and ARN of the function."
  value = {
    name = aws_lambda_function.this.function_name
    arn  = aws_lambda_function.this.arn
  }
}

output "role" {
  description = "ARN of its role."
  value       = aws_iam_role.this.arn
}

output "log_group" {
  description = "Name of its log group."
  value       = aws_cloudwatch_log_group.this.name
}

output "alarms" {
  description = "Name of each of its alarms, which send nothing themselves."
  value       = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => alarm.alarm_name }
}

output "policy" {
  description = "Policy of its role, as JSON."
  value       = aws_iam_role_policy.this.policy
}

output "environment" {
  description = "Its settings; they name the secrets of logins, but do not contain them."
  value       = local.environment
}
