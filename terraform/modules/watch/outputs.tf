output "topic" {
  description = "ARN of the topic for alarms and alerts."
  value       = aws_sns_topic.alerts.arn
}

output "mails" {
  description = "Name of each alarm that sends a mail."
  value       = { for name, alarm in aws_cloudwatch_composite_alarm.mail : name => alarm.alarm_name }
}

output "cloudwatch_dashboard" {
  description = "Name of the dashboard in CloudWatch."
  value       = aws_cloudwatch_dashboard.flow.dashboard_name
}
