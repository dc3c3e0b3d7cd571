output "ingestion_bucket" {
  description = "Bucket of the ingestion store: TOTES_INGESTION_URL is s3:// followed by this."
  value       = module.lake.buckets.ingestion
}

output "processed_bucket" {
  description = "Bucket of the processed store: TOTES_PROCESSED_URL is s3:// followed by this."
  value       = module.lake.buckets.processed
}

output "source_parameter_group" {
  description = "Name of the parameter group to attach to the RDS instance of totesys; null without source_instance."
  value       = one(module.source[*].parameter_group)
}

output "functions" {
  description = "Name of each stage's function."
  value       = { for stage, made in module.stage : stage => made.function.name }
}

output "rates_function" {
  description = "Name of the function that stores exchange rates; null without rates_enabled."
  value       = one(module.rates[*].function)
}

output "roles" {
  description = "ARN of each stage's role."
  value       = { for stage, made in module.stage : stage => made.role }
}

output "removal_role" {
  description = "ARN of the role that may remove objects of the lake, for totes gc --remove and after totes erase."
  value       = module.lake.removal_role
}

output "alert_topic" {
  description = "ARN of the topic for alarms and alerts."
  value       = module.watch.topic
}

output "rules" {
  description = "Name of the rule that calls each stage for a new batch."
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

output "cloudwatch_dashboard_url" {
  description = "URL of the CloudWatch dashboard."
  value       = "https://${var.region}.console.aws.amazon.com/cloudwatch/home?region=${var.region}#dashboards/dashboard/${module.watch.cloudwatch_dashboard}"
}

output "dashboard" {
  description = "The dashboard: what its domain must point to, the listener at which users sign in, and the secret with the client secret of OpenID Connect; null without dashboard."
  value = one([for made in module.dashboard : {
    address       = made.address
    listener      = made.listener
    client_secret = lookup(module.secrets.arns, "oidc-client", null)
  }])
}

output "athena_workgroup" {
  description = "Athena workgroup for queries on the lake."
  value       = module.catalogue.workgroup
}

output "artefacts_bucket" {
  description = "Bucket of the functions' bundles."
  value       = module.lake.buckets.artefacts
}

output "trail_bucket" {
  description = "Bucket of CloudTrail's files about the objects of the lake; null without cloudtrail_enabled."
  value       = one(module.trail[*].bucket)
}

output "keys" {
  description = "ARN of the KMS key for `data`, `secrets` and `signals`."
  value       = module.encryption.keys
}

output "vpc" {
  description = "ID of the VPC of the functions and the warehouse."
  value       = module.network.vpc
}

output "private_subnets" {
  description = "IDs of the VPC's private subnets."
  value       = module.network.subnets
}

output "stage_security_groups" {
  description = "ID of the security group of each stage's function; load's may connect to the warehouse."
  value       = module.network.stage_security_groups
}

output "source_peering" {
  description = "ID of the peering with the network of totesys, which must accept it and route back; null without peering."
  value       = module.network.source_peering
}

output "nat_address" {
  description = "Public address of ingest and tasks, which totesys must allow; null without NAT."
  value       = module.network.nat_address
}

output "warehouse_host" {
  description = "Host name of the warehouse; null if it is not created here."
  value       = one(module.warehouse[*].host)
}

output "warehouse_master_secret" {
  description = "ARN of the secret with the master password of RDS; null if the warehouse is not created here."
  value       = one(module.warehouse[*].master_secret)
}

output "operator_instance" {
  description = "ID of the instance that forwards a port to the warehouse; null without operator_enabled."
  value       = one(module.operator[*].instance)
}

output "task" {
  description = "What a run of a task needs: `tools/aws/run_task.py` reads it; null without task_enabled."
  value = one([for made in module.task : {
    cluster           = made.cluster
    definition        = made.task_definitions.task
    create_definition = lookup(made.task_definitions, "warehouse-creation", null)
    subnets           = module.network.subnets
    security_group    = module.network.task_security_group
    log_group         = made.log_group
    container         = made.container
  }])
}

output "spark" {
  description = "What a Spark job needs: `tools/aws/run_spark_job.py` reads it; null without spark_enabled."
  value = one([for made in module.spark : {
    application = made.application.id
    arn         = made.application.arn
    role        = made.role
    program     = made.program
    settings    = merge(local.urls, { TOTES_SPARK_MIN_SIZE = var.spark.min_size })
  }])
}

output "image_repository" {
  description = "ARN and URL of the repository of container images; null without task_enabled."
  value       = one([for made in module.task : { arn = made.repository, url = made.repository_url }])
}
