# What each stage is told and may, through all the modules.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  environment = "test"
  alarm_email = "who@example.com"
  bundle      = "./versions.tf" # any file
}

run "what_each_may" {
  command = apply # ARNs are one for each then, where a plan has one for all

  assert {
    condition = alltrue([for stage, made in module.stage : alltrue([
      for statement in jsondecode(made.policy).Statement : statement.Effect == "Deny" || !strcontains(jsonencode(statement.Action), "*")
    ])])
    error_message = "Each action must be named."
  }

  assert {
    condition = alltrue([for made in values(module.stage) : alltrue([
      for statement in jsondecode(made.policy).Statement : statement.Effect == "Deny" || !strcontains(jsonencode(statement.Action), "s3:Delete")
    ])])
    error_message = "No stage may delete an object."
  }

  # Objects that each may read and create, as ARNs.
  assert {
    condition = {
      for stage, made in module.stage : stage => toset(flatten([
        for statement in jsondecode(made.policy).Statement : statement.Resource if contains(flatten([statement.Action]), "s3:GetObject")
      ]))
      } == {
      ingest    = toset(["${module.lake.arns.ingestion}/*"])
      transform = toset(["${module.lake.arns.ingestion}/*", "${module.lake.arns.processed}/*"])
      load      = toset(["${module.lake.arns.ingestion}/batches/*", "${module.lake.arns.ingestion}/heartbeats/*", "${module.lake.arns.processed}/*"])
    }
    error_message = "Each stage reads what it is made from, and no more."
  }

  assert {
    condition = {
      for stage, made in module.stage : stage => toset(flatten([
        for statement in jsondecode(made.policy).Statement : statement.Resource if contains(flatten([statement.Action]), "s3:PutObject")
      ]))
      } == {
      ingest    = toset(["${module.lake.arns.ingestion}/*"])
      transform = toset(["${module.lake.arns.processed}/*"])
      load      = toset([])
    }
    error_message = "Each stage creates objects in its own store alone."
  }

  assert {
    condition = {
      for stage, made in module.stage : stage => toset(flatten([
        for statement in jsondecode(made.policy).Statement : statement.Resource if contains(flatten([statement.Action]), "secretsmanager:GetSecretValue")
      ]))
      } == {
      ingest    = toset([module.secrets.arns.source])
      transform = toset([])
      load      = toset([module.secrets.arns.warehouse])
    }
    error_message = "Each stage knows its own login alone."
  }

  # Settings: what each has besides what all have.
  assert {
    condition = {
      for stage, made in module.stage : stage => setsubtract(keys(made.environment), [
        "ENVIRONMENT", "POWERTOOLS_LOG_LEVEL", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_SERVICE_NAME", "TOTES_ALERT_TOPIC", "TOTES_MEMORY",
      ])
      } == {
      ingest    = toset(["TOTES_EXCLUDE_TABLES", "TOTES_INGESTION_URL", "TOTES_SOURCE_SCHEMA", "TOTES_SOURCE_SECRET"])
      transform = toset(["TOTES_INGESTION_URL", "TOTES_PROCESSED_URL"])
      load      = toset(["TOTES_INGESTION_URL", "TOTES_PROCESSED_URL", "TOTES_WAREHOUSE_SECRET"])
    }
    error_message = "Each stage is told what it needs, and no more."
  }

  assert {
    condition = alltrue([for stage, made in module.stage :
      made.environment.POWERTOOLS_SERVICE_NAME == stage &&
      made.environment.POWERTOOLS_METRICS_NAMESPACE == "totes" &&
      made.environment.ENVIRONMENT == "test" &&
      made.environment.TOTES_ALERT_TOPIC == module.watch.topic
    ])
    error_message = "Metrics and alerts must say whose they are, where alarms look for them."
  }

  assert {
    condition     = sort(keys(output.dead_letter_queues)) == tolist(["ingest", "load", "transform", "undelivered"])
    error_message = "Each stage has a queue for what failed, and the flow one for what got lost."
  }
}
