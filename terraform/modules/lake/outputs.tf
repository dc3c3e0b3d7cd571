# Separate outputs: a stage needs a bucket's name, and the bucket's policy needs the stage's role.

output "buckets" {
  description = "Names of the buckets `ingestion`, `processed`, `artefacts` and `logs`."
  value = {
    ingestion = module.store["ingestion"].name
    processed = module.store["processed"].name
    artefacts = module.artefacts.name
    logs      = module.logs.governed
  }
}

output "arns" {
  description = "ARN of each bucket."
  value = {
    ingestion = module.store["ingestion"].arn
    processed = module.store["processed"].arn
    artefacts = module.artefacts.arn
    logs      = module.logs.arn
  }
}

output "removal_role" {
  description = "ARN of the role that may remove objects of the lake."
  value       = aws_iam_role.removal.arn
}

output "policies" {
  description = "Statements of each store's policy."
  value       = { for name, store in module.store : name => store.policy }
}
