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
  description = "ARN of the task definitions `task` and, with `create`, `create`."
  value       = { for name, made in aws_ecs_task_definition.this : name => made.arn }
}

output "roles" {
  description = "ARN of each role."
  value = merge(
    { task = aws_iam_role.task.arn, execution = aws_iam_role.execution.arn },
    { for role in aws_iam_role.create : "create" => role.arn },
  )
}

output "log_group" {
  description = "Name of the log group of all tasks."
  value       = aws_cloudwatch_log_group.this.name
}
