output "ingestion_bucket" {
  description = "Bucket of the ingestion store: TOTES_INGESTION_URL is s3:// and this."
  value       = module.lake.buckets.ingestion
}

output "processed_bucket" {
  description = "Bucket of the processed store: TOTES_PROCESSED_URL is s3:// and this."
  value       = module.lake.buckets.processed
}

output "functions" {
  description = "Name of each stage's function."
  value       = { for stage, made in module.stage : stage => made.function.name }
}

output "roles" {
  description = "ARN of each stage's role."
  value       = { for stage, made in module.stage : stage => made.role }
}

output "break_glass_role" {
  description = "ARN of the role that may remove objects of the lake, for totes gc --remove and after totes erase."
  value       = module.lake.break_glass_role
}

output "alert_topic" {
  description = "ARN of the topic that is told of everything a person should know."
  value       = module.watch.topic
}

output "dead_letter_queues" {
  description = "URL of each queue that should be empty: failed events by stage, and calls that could not be delivered."
  value = merge(
    { for stage, made in module.stage : stage => made.dead_letter_queue.url },
    { undelivered = module.flow.dead_letter_queue.url },
  )
}

output "rules" {
  description = "Name of the rule that calls each stage when a batch was published."
  value       = module.flow.rules
}

output "schedules" {
  description = "Name of each stage's schedule."
  value       = module.flow.schedules
}

output "source_secret" {
  description = "ARN of the secret for totesys' login."
  value       = module.secrets.arns.source
}

output "warehouse_secret" {
  description = "ARN of the secret for the login that loads the warehouse."
  value       = module.secrets.arns.warehouse
}

output "reader_secret" {
  description = "ARN of the secret for a login that reads the warehouse."
  value       = module.secrets.arns.reader
}

output "dashboard_url" {
  description = "Where the flow can be watched."
  value       = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#dashboards/dashboard/${module.watch.dashboard}"
}

output "athena_workgroup" {
  description = "Athena workgroup for questions to the lake."
  value       = module.catalogue.workgroup
}

output "artefacts_bucket" {
  description = "Bucket of the functions' bundles."
  value       = module.lake.buckets.artefacts
}

output "keys" {
  description = "ARN of the KMS key for `data`, `secrets` and `signals`."
  value       = module.encryption.keys
}

output "vpc" {
  description = "ID of the network the functions and the warehouse are in."
  value       = module.network.vpc
}

output "private_subnets" {
  description = "IDs of its private subnets."
  value       = module.network.subnets
}

output "stage_security_groups" {
  description = "ID of the security group of each stage's function; load's is let into the warehouse."
  value       = module.network.stage_security_groups
}

output "source_peering" {
  description = "ID of the peering with totesys' network, to be accepted there and routed back; null where there is none."
  value       = module.network.source_peering
}

output "nat_address" {
  description = "The address by which totesys sees ingest, to be let in there; null where there is no NAT."
  value       = module.network.nat_address
}

output "warehouse_host" {
  description = "Name of the warehouse's host, null where it is not made here."
  value       = one(module.warehouse[*].host)
}

output "warehouse_master_secret" {
  description = "ARN of the secret in which RDS keeps the master's password, null where the warehouse is not made here."
  value       = one(module.warehouse[*].master_secret)
}

output "operator_instance" {
  description = "Target of a session that forwards a port to the warehouse; null without operator_enabled."
  value       = one(module.operator[*].instance)
}
