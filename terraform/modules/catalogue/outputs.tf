output "workgroup" {
  description = "Athena workgroup for queries on the lake."
  value       = aws_athena_workgroup.this.name
}

output "databases" {
  description = "Glue database of each store; that of the processed one is the database of the Iceberg tables if there are any."
  value       = local.databases
}

output "analyst_policy" {
  description = "ARN of the IAM policy that allows read-only queries."
  value       = aws_iam_policy.analyst.arn
}

output "policy" {
  description = "That policy, as JSON."
  value       = aws_iam_policy.analyst.policy
}

output "views" {
  description = "SQL of each view, by database and name."
  value       = { for name, view in local.views : name => view.sql }
}

output "queries" {
  description = "Database and SQL of each saved query."
  value       = { for name, query in local.named_queries : name => { database = query.database, sql = query.sql } }
}
