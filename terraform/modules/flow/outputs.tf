output "rules" {
  description = "Name of the rule that calls each stage."
  value       = { for stage, rule in aws_cloudwatch_event_rule.landed : stage => rule.name }
}

output "schedules" {
  description = "Name of each stage's schedule."
  value       = { for stage, schedule in aws_scheduler_schedule.this : stage => schedule.name }
}

output "schedule_group" {
  description = "Name of the group of schedules."
  value       = aws_scheduler_schedule_group.this.name
}
