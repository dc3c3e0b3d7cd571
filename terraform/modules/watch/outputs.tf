output "topic" {
  description = "ARN of the topic that is told of everything a person should know."
  value       = aws_sns_topic.alerts.arn
}

output "alarms" {
  description = "ARN of each alarm on the flow as a whole."
  value       = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => alarm.arn }
}

output "dashboard" {
  description = "Name of the dashboard."
  value       = aws_cloudwatch_dashboard.flow.dashboard_name
}
