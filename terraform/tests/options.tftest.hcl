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
    condition     = length(module.trail) == 0 && output.trail_bucket == null
    error_message = "Without the trail there must be no bucket for it."
  }
}
