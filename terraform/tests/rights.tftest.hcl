# Settings and permissions of each stage, through all modules.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  environment = "test"
  alarm_email = "who@example.com"
  bundle      = "./versions.tf" # any file
}

run "settings_and_permissions" {
  command = apply # a plan has the same ARN for all

  assert {
    condition = alltrue([for stage, made in module.stage : alltrue([
      for statement in jsondecode(made.policy).Statement : statement.Effect == "Deny" || !strcontains(jsonencode(statement.Action), "*")
    ])])
    error_message = "Policies must not use wildcards in actions."
  }

  assert {
    condition = alltrue([for made in values(module.stage) : alltrue([
      for statement in jsondecode(made.policy).Statement : statement.Effect == "Deny" || !strcontains(jsonencode(statement.Action), "s3:Delete")
    ])])
    error_message = "No stage must be allowed to delete an object."
  }

  # ARNs of the objects that each stage may read and create.
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
    error_message = "Each stage must read only the objects that it needs."
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
    error_message = "Each stage must create objects in its own store only."
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
    error_message = "Each stage must read its own login only."
  }

  # tests/aws/plan evaluates the policy with Iceberg tables, which take the place of the processed store.
  assert {
    condition     = strcontains(module.catalogue.policy, "\"arn:aws:s3:::${module.lake.buckets.processed}/*\"") && strcontains(module.catalogue.policy, "database/totes_test_processed\"")
    error_message = "Without Iceberg tables, analysts must be able to read the processed store."
  }

  # Settings of each stage, without those that all have.
  assert {
    condition = {
      for stage, made in module.stage : stage => setsubtract(keys(made.environment), [
        "ENVIRONMENT", "POWERTOOLS_LOG_LEVEL", "POWERTOOLS_METRICS_NAMESPACE", "POWERTOOLS_SERVICE_NAME", "TOTES_ALERT_TOPIC", "TOTES_MEMORY",
      ])
      } == {
      ingest    = toset(["TOTES_EXCLUDE_TABLES", "TOTES_INGESTION_URL", "TOTES_RATES_URL", "TOTES_SOURCE_SCHEMA", "TOTES_SOURCE_SECRET"])
      transform = toset(["TOTES_INGESTION_URL", "TOTES_PROCESSED_URL"])
      load      = toset(["TOTES_INGESTION_URL", "TOTES_PROCESSED_URL", "TOTES_WAREHOUSE_SECRET"])
    }
    error_message = "Each stage must get only the settings that it needs."
  }

  assert {
    condition = alltrue([for stage, made in module.stage :
      made.environment.POWERTOOLS_SERVICE_NAME == stage &&
      made.environment.POWERTOOLS_METRICS_NAMESPACE == "totes" &&
      made.environment.ENVIRONMENT == "test" &&
      made.environment.TOTES_ALERT_TOPIC == module.watch.topic
    ])
    error_message = "Metrics must have the namespace and the environment that alarms use."
  }

  assert {
    condition     = local.stages.ingest.environment.TOTES_RATES_URL == "s3://${module.lake.buckets.ingestion}/rates"
    error_message = "Ingest must read the rates that the function stores."
  }

  # The function that stores exchange rates creates objects below one prefix, and nothing else.
  assert {
    condition = { for statement in jsondecode(module.rates[0].policy).Statement : statement.Sid => [statement.Effect, statement.Action, statement.Resource] } == {
      WriteLogs       = ["Allow", ["logs:CreateLogStream", "logs:PutLogEvents"], "arn:aws:logs:eu-west-2:111122223333:log-group:mock:*"]
      CreateRates     = ["Allow", ["s3:PutObject"], "${module.lake.arns.ingestion}/rates/*"]
      EncryptRates    = ["Allow", ["kms:GenerateDataKey"], module.encryption.keys.data]
      DecryptSettings = ["Allow", ["kms:Decrypt"], module.encryption.keys.signals]
    }
    error_message = "The function of the rates must not be allowed more."
  }

  assert {
    condition = alltrue([for policy in values(module.lake.policies) : contains(
      [for statement in policy : statement.Principal.AWS if statement.Sid == "DenyDeletesByStages"][0], module.rates[0].role,
    )])
    error_message = "No function may delete in the lake."
  }
}

run "without_rates" {
  command = plan

  variables {
    rates_enabled = false
  }

  assert {
    condition     = length(module.rates) == 0 && output.rates_function == null && !contains(keys(local.stages.ingest.environment), "TOTES_RATES_URL") && !contains(keys(module.watch.mails), "rates")
    error_message = "Ingest must use the rates of its bundle."
  }

  # The task: for each action, the same resources as all stages together, and the same settings.
  assert {
    condition = {
      for statement in jsondecode(module.task[0].policy).Statement : join(" ", statement.Action) => toset(statement.Resource)...
      } == {
      for action in ["kms:Decrypt", "kms:Decrypt kms:GenerateDataKey", "s3:GetObject", "s3:ListBucket", "s3:PutObject s3:AbortMultipartUpload", "secretsmanager:GetSecretValue", "sns:Publish"] : action => [toset(flatten([
        for made in values(module.stage) : [for statement in jsondecode(made.policy).Statement : statement.Resource if join(" ", flatten([statement.Action])) == action]
      ]))]
    }
    error_message = "The task must have exactly the stages' permissions together."
  }

  assert {
    condition = module.task[0].environment == merge(concat(
      [for made in values(module.stage) : { for name, value in made.environment : name => value if startswith(name, "TOTES_") }],
      [{ AWS_REGION = "eu-west-2", TMPDIR = "/var/lib/totes", TOTES_MEMORY = "4915MB" }],
    )...)
    error_message = "The task must have the settings of all stages."
  }

  assert {
    # Mocked roles all have the same ARN.
    condition = alltrue([for statements in values(module.lake.policies) : alltrue([
      for statement in statements : length(statement.Principal.AWS) == length(module.stage) + 1 if statement.Sid == "DenyDeletesByStages"
    ])])
    error_message = "The task must not delete objects of the lake."
  }
}
