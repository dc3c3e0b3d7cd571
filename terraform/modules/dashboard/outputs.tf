output "address" {
  description = "DNS name of the load balancer, which the dashboard's domain must point to."
  value       = aws_lb.this.dns_name
}

output "listener" {
  description = "ARN of the listener at which users sign in."
  value       = aws_lb_listener.https.arn
}

output "role" {
  description = "ARN of the role of the tasks."
  value       = aws_iam_role.this.arn
}

output "alarms" {
  description = "Name of each of its alarms, which send nothing themselves."
  value       = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => alarm.alarm_name }
}
