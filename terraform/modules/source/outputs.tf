output "parameter_group" {
  description = "Name of the parameter group to attach to the instance of totesys."
  value       = aws_db_parameter_group.this.name
}

output "alarms" {
  description = "Name of each of its alarms, which send nothing themselves."
  value       = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => alarm.alarm_name }
}
