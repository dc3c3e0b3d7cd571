output "host" {
  description = "Name of the host."
  value       = aws_db_instance.this.address
}

output "master_secret" {
  description = "ARN of the secret in which RDS keeps the master's password."
  value       = one(aws_db_instance.this.master_user_secret[*].secret_arn)
}

output "alarms" {
  description = "ARN of each of its alarms."
  value       = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => alarm.arn }
}
