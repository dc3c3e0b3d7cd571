output "host" {
  description = "Host name of the warehouse."
  value       = aws_db_instance.this.address
}

output "master_secret" {
  description = "ARN of the secret with the master password of RDS."
  value       = one(aws_db_instance.this.master_user_secret[*].secret_arn)
}

output "alarms" {
  description = "Name of each of its alarms, which send nothing themselves."
  value       = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => alarm.alarm_name }
}
