output "topic" {
  description = "ARN of the topic for alarms and alerts."
  value       = aws_sns_topic.alerts.arn
}

output "alarms" {
  description = "ARN of each alarm on the data flow as a whole."
  value       = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => alarm.arn }
}

output "dashboard" {
  description = "Name of the dashboard."
  value       = aws_cloudwatch_dashboard.flow.dashboard_name
}
