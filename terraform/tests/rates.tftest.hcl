# The function that fetches the ECB's exchange rates.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

run "one_function" {
  command = plan

  module {
    source = "./modules/rates"
  }

  variables {
    name           = "totes-test"
    bucket         = { name = "the-ingestion", arn = "arn:aws:s3:::the-ingestion" }
    bundle         = { bucket = "artefacts", key = "bundles/one.zip", hash = "c29tZQ==" }
    schedule_group = "the-group"
    log_days       = 365
    keys = {
      data    = "arn:aws:kms:eu-west-2:111122223333:key/data"
      secrets = "arn:aws:kms:eu-west-2:111122223333:key/secrets"
      signals = "arn:aws:kms:eu-west-2:111122223333:key/signals"
    }
  }

  assert {
    condition = (
      aws_lambda_function.this.handler == "totes.aws.rates.handler" &&
      aws_lambda_function.this.environment[0].variables == tomap({
        TOTES_INGESTION_URL = "s3://the-ingestion"
        TOTES_RATES_URL     = "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-hist.zip"
      }) &&
      aws_lambda_function.this.kms_key_arn == var.keys.signals
    )
    error_message = "It must fetch the ECB's file over TLS into the ingestion store."
  }

  assert {
    condition     = length(aws_lambda_function.this.vpc_config) == 0
    error_message = "It must run outside of the platform's network, which has no route to the internet."
  }

  assert {
    condition     = aws_scheduler_schedule.this.schedule_expression == "cron(30 15,18 * * ? *)" && aws_scheduler_schedule.this.group_name == "the-group" && aws_scheduler_schedule.this.target[0].arn == aws_lambda_function.this.arn
    error_message = "It must be called after the ECB publishes, and once more."
  }

  assert {
    condition     = aws_lambda_function_event_invoke_config.this.maximum_retry_attempts == 0 && aws_scheduler_schedule.this.target[0].retry_policy[0].maximum_retry_attempts == 0
    error_message = "A call must not be retried: the schedule repeats it."
  }

  assert {
    condition     = jsondecode(aws_iam_role_policy.scheduler.policy).Statement[0].Resource == aws_lambda_function.this.arn && length(jsondecode(aws_iam_role_policy.scheduler.policy).Statement) == 1
    error_message = "Its schedule must be allowed to call this function only."
  }

  assert {
    condition     = aws_cloudwatch_log_group.this.name == "/aws/lambda/totes-test-rates" && aws_cloudwatch_log_group.this.retention_in_days == 365 && aws_cloudwatch_log_group.this.kms_key_id == var.keys.signals
    error_message = "Its log must be encrypted and expire."
  }

  assert {
    condition     = output.url == "s3://the-ingestion/rates" && anytrue([for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : statement.Resource == "arn:aws:s3:::the-ingestion/rates/*" && statement.Action == ["s3:PutObject"]])
    error_message = "Ingest must find the files where the function may create them."
  }
}
