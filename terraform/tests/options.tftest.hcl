# Parts of the platform that a variable switches on; without it they do not exist.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  environment = "test"
  alarm_email = "who@example.com"
  bundle      = "./versions.tf" # any file
}

run "none" {
  command = plan

  assert {
    condition     = length(module.dashboard) == 0 && output.dashboard == null && !contains(keys(module.secrets.arns), "oidc-client") && length(module.network.public_subnets) == 0
    error_message = "Without the variable dashboard there must be no load balancer, and no public subnet."
  }

  assert {
    condition     = length(module.spark) + length(module.iceberg) == 0 && output.spark == null && module.network.spark_security_group == null
    error_message = "Spark and Iceberg must be off by default."
  }

  assert {
    condition     = length(aws_budgets_budget.monthly) == 0
    error_message = "Without monthly_budget_usd there must be no budget."
  }

  assert {
    condition     = length(module.trail) == 1
    error_message = "The trail must be there unless it is switched off."
  }
}

run "all" {
  command = plan

  variables {
    monthly_budget_usd = 200
    spark_enabled      = true
    spark_package      = "./versions.tf" # any file
    iceberg_enabled    = true
    cloudtrail_enabled = false
    image_tag          = "0123abc"
    dashboard = {
      domain          = "totes.example"
      certificate_arn = "arn:aws:acm:eu-west-2:111122223333:certificate/one"
      sign_in = {
        oidc = {
          issuer                 = "https://provider.example"
          authorization_endpoint = "https://provider.example/authorize"
          token_endpoint         = "https://provider.example/token"
          user_info_endpoint     = "https://provider.example/userinfo"
          client_id              = "client"
        }
      }
    }
  }

  assert {
    condition     = length(module.dashboard) == 1 && contains(keys(module.secrets.arns), "oidc-client") && length(module.network.public_subnets) == 2
    error_message = "The dashboard must have public subnets, and with OpenID Connect a client secret."
  }

  assert {
    condition = (
      aws_budgets_budget.monthly[0].limit_amount == "200" && length(aws_budgets_budget.monthly[0].cost_filter) == 0 &&
      toset([for one in aws_budgets_budget.monthly[0].notification : "${one.notification_type} ${one.threshold} ${join(" ", one.subscriber_email_addresses)}"]) ==
      toset(["ACTUAL 80 who@example.com", "FORECASTED 100 who@example.com"])
    )
    error_message = "The budget must count the whole account, and warn twice."
  }

  assert {
    condition = (
      setsubtract(keys(module.stage["transform"].environment), keys(module.stage["load"].environment)) == toset(["TOTES_SPARK_APPLICATION", "TOTES_SPARK_MIN_SIZE", "TOTES_SPARK_PROGRAM", "TOTES_SPARK_ROLE"]) &&
      module.stage["transform"].environment.TOTES_SPARK_MIN_SIZE == "1GB"
    )
    error_message = "With Spark, transform alone must know its jobs."
  }

  assert {
    condition = (
      module.iceberg[0].database == "totes_test_star" &&
      module.catalogue.databases == { ingestion = "totes_test_ingestion", processed = "totes_test_star" } &&
      length([for name in keys(module.catalogue.views) : name if startswith(name, "processed.")]) == 0 &&
      length([for name, query in module.catalogue.queries : name if query.database != "totes_test_ingestion"]) == 0
    )
    error_message = "Iceberg tables must take the place of the processed store's views, in a database of their own."
  }

  assert {
    condition     = length(module.trail) == 0 && output.trail_bucket == null
    error_message = "Without the trail there must be no bucket for it."
  }
}
