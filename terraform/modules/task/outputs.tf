output "cluster" {
  description = "ARN of the cluster."
  value       = aws_ecs_cluster.this.arn
}

output "repository_url" {
  description = "URL of the repository of images."
  value       = aws_ecr_repository.this.repository_url
}

output "repository" {
  description = "ARN of the repository of images."
  value       = aws_ecr_repository.this.arn
}

output "image" {
  description = "Image of all tasks, with its tag."
  value       = local.image
}

output "task_definitions" {
  description = "ARN of the task definitions `task` and, with `create`, `warehouse-creation`."
  value       = { for name, made in aws_ecs_task_definition.this : name => made.arn }
}

output "roles" {
  description = "ARN of each role."
  value = merge(
    { task = aws_iam_role.task.arn, execution = aws_iam_role.execution.arn },
    { for role in aws_iam_role.create : "warehouse-creation" => role.arn },
    { for role in aws_iam_role.scheduler : "scheduler" => role.arn },
  )
}

output "role_name" {
  description = "Name of the task's role."
  value       = aws_iam_role.task.name
}

output "container" {
  description = "Name of the container of all tasks, whose command a run chooses."
  value       = local.container
}

output "log_group" {
  description = "Name of the log group of all tasks."
  value       = aws_cloudwatch_log_group.this.name
}

output "policy" {
  description = "Policy of the task's role, as JSON."
  value       = aws_iam_role_policy.task.policy
}

output "environment" {
  description = "The task's settings; they name the secrets of logins, but do not contain them."
  value       = { for pair in jsondecode(aws_ecs_task_definition.this["task"].container_definitions)[0].environment : pair.name => pair.value }
}
