output "state_bucket" {
  description = "STATE_BUCKET for `make plan` and `make deploy`, and for GitHub's variables."
  value       = module.state.name
}

output "plan_role" {
  description = "GitHub's variable AWS_PLAN_ROLE; null without GitHub."
  value       = one(aws_iam_role.plan[*].arn)
}

output "deploy_roles" {
  description = "GitHub's variable AWS_DEPLOY_ROLE of each environment."
  value       = { for environment, role in aws_iam_role.deploy : environment => role.arn }
}

output "boundaries" {
  description = "ARN of each environment's permissions boundary, which its roles have with `bounded = true`."
  value       = { for environment, policy in aws_iam_policy.boundary : environment => policy.arn }
}
