# Spark: its application, what its jobs run and may, and the one exception in the processed store's policy.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

mock_provider "aws" {
  alias  = "applied"
  source = "./tests/mocks"
}

variables {
  name     = "totes-test"
  log_days = 365
  keys = {
    data    = "arn:aws:kms:eu-west-2:111122223333:key/data"
    secrets = "arn:aws:kms:eu-west-2:111122223333:key/secrets"
    signals = "arn:aws:kms:eu-west-2:111122223333:key/signals"
  }
}

run "application" {
  command = plan

  module {
    source = "./modules/spark"
  }

  variables {
    package          = "./versions.tf" # any file
    artefacts_bucket = "the-artefacts"
    stores           = { ingestion = "arn:aws:s3:::ingestion", processed = "arn:aws:s3:::processed" }
    attempts         = "generation=*/*/spark-*/*"
    max_vcpu         = 64
    network          = { subnets = ["subnet-1", "subnet-2"], security_group = "sg-spark" }
  }

  assert {
    condition = (
      aws_emrserverless_application.this.type == "spark" && aws_emrserverless_application.this.architecture == "ARM64" &&
      aws_emrserverless_application.this.release_label == "emr-spark-8.1.0" &&
      [for most in aws_emrserverless_application.this.maximum_capacity : "${most.cpu} ${most.memory}"] == ["64 vCPU 256 GB"] &&
      aws_emrserverless_application.this.auto_stop_configuration[0].enabled && aws_emrserverless_application.this.auto_stop_configuration[0].idle_timeout_minutes == 1 &&
      length(aws_emrserverless_application.this.initial_capacity) == 0
    )
    error_message = "The application must cost nothing while no job runs, and have a limit of its capacity."
  }

  assert {
    condition = (
      aws_emrserverless_application.this.network_configuration[0].subnet_ids == toset(var.network.subnets) &&
      aws_emrserverless_application.this.network_configuration[0].security_group_ids == toset(["sg-spark"])
    )
    error_message = "Workers must be in the private network."
  }

  assert {
    condition = (
      dirname(aws_s3_object.job.key) == dirname(aws_s3_object.packages.key) &&
      can(regex("^s3://the-artefacts/spark/[0-9a-f]{16}$", output.program)) &&
      [basename(aws_s3_object.job.key), basename(aws_s3_object.packages.key)] == ["job.py", "packages.tar.gz"]
    )
    error_message = "Program and packages must be in one folder, of their content."
  }

  # src/totes/aws/spark_jobs.py finds the log group by the role's name.
  assert {
    condition = (
      aws_cloudwatch_log_group.this.name == "/aws/emr-serverless/${aws_iam_role.this.name}" && output.log_group == aws_cloudwatch_log_group.this.name &&
      aws_cloudwatch_log_group.this.kms_key_id == var.keys.signals && aws_cloudwatch_log_group.this.retention_in_days == 365
    )
    error_message = "Jobs must write to an encrypted log with the name of their role."
  }

  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Sid => statement.Resource if length(regexall("s3:", jsonencode(statement.Action))) > 0
      } == {
      ListObjects        = ["arn:aws:s3:::ingestion", "arn:aws:s3:::processed"]
      ReadObjects        = ["arn:aws:s3:::ingestion/*", "arn:aws:s3:::processed/*", "arn:aws:s3:::the-artefacts/spark/*"]
      CreateGenerations  = ["arn:aws:s3:::processed/generation=*"]
      RemoveFromAttempts = ["arn:aws:s3:::processed/generation=*/*/spark-*/*"]
    }
    error_message = "Jobs must write generations only, and remove only files of attempts."
  }

  assert {
    condition = jsondecode(aws_iam_role.this.assume_role_policy).Statement == [{
      Effect    = "Allow"
      Principal = { Service = "emr-serverless.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = "111122223333" } }
    }]
    error_message = "Only EMR for this account must get the role."
  }
}

run "the_exception_of_attempts" {
  command = apply # the removal role has an ARN only then

  providers = {
    aws = aws.applied
  }

  module {
    source = "./modules/lake"
  }

  variables {
    key            = "arn:aws:kms:eu-west-2:111122223333:key/data"
    stage_roles    = { transform = "arn:aws:iam::111122223333:role/transform" }
    executor_roles = ["arn:aws:iam::111122223333:role/spark"]
    attempts       = "generation=*/*/spark-*/*"
  }

  assert {
    condition = [for statement in output.policies.processed : "${statement.Sid} ${jsonencode(statement.NotResource)}" if can(statement.NotResource)] == [
      "DenyDeletesBySparkElsewhere \"arn:aws:s3:::totes-test-processed-111122223333-eu-west-2/generation=*/*/spark-*/*\"",
      "DenyOverwritesBySparkElsewhere \"arn:aws:s3:::totes-test-processed-111122223333-eu-west-2/generation=*/*/spark-*/*\"",
    ]
    error_message = "But for attempts, the processed store must be create-only for Spark."
  }

  assert {
    condition     = !strcontains(jsonencode(output.policies.ingestion), "spark")
    error_message = "The ingestion store must have no exception."
  }
}

run "network" {
  providers = {
    aws = aws.applied
  }

  module {
    source = "./modules/network"
  }

  variables {
    cidr              = "10.84.0.0/20"
    zones             = 2
    endpoint_zones    = 1
    source_access     = "none"
    source_address    = null
    source_port       = 5432
    tasks             = false
    spark             = true
    glue              = true
    warehouse_clients = []
    key               = "arn:aws:kms:eu-west-2:111122223333:key/signals"
  }

  assert {
    condition = (
      toset(keys(aws_vpc_endpoint.service)) == toset(["secretsmanager", "sns", "emr-serverless", "logs", "glue"]) &&
      contains(keys(aws_vpc_security_group_egress_rule.s3), "spark") && contains(keys(aws_vpc_security_group_egress_rule.endpoints), "spark") &&
      !contains(keys(aws_vpc_security_group_egress_rule.warehouse), "spark") && !contains(keys(aws_vpc_security_group_egress_rule.source), "spark")
    )
    error_message = "Spark must reach S3 and the endpoints, but neither totesys nor the warehouse."
  }
}
