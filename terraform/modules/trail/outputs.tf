output "bucket" {
  description = "Name of the bucket with the trail's files."
  value       = module.bucket.name
}

output "policy" {
  description = "Statements of the bucket's policy."
  value       = module.bucket.policy
}
