output "buckets" {
  description = "Name of the bucket `ingestion`, `processed`, `artefacts` and `logs`."
  value       = { for name, bucket in local.buckets : name => bucket.id }
}

output "arns" {
  description = "ARN of each bucket."
  value       = { for name, bucket in local.buckets : name => bucket.arn }
}

output "break_glass_role" {
  description = "ARN of the role that may remove objects of the lake."
  value       = aws_iam_role.break_glass.arn
}
