# Who GitHub's workflows are, and what they can't do.

mock_provider "aws" {
  source = "./tests/mocks"
}

run "with_github" {
  command = apply # the state's bucket has an ARN only then

  module {
    source = "./bootstrap"
  }

  variables {
    github_repository = "somebody/totes"
  }

  assert {
    condition = { for name, role in merge({ plan = aws_iam_role.plan[0] }, aws_iam_role.deploy) : name =>
      jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals
      } == {
      plan = { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com", "token.actions.githubusercontent.com:sub" = "repo:somebody/totes:pull_request" }
      dev  = { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com", "token.actions.githubusercontent.com:sub" = "repo:somebody/totes:environment:dev" }
      prod = { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com", "token.actions.githubusercontent.com:sub" = "repo:somebody/totes:environment:prod" }
    }
    error_message = "A role must be for one repository, and for one environment or for pull requests."
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.plan[0].policy).Statement : statement.Action if statement.Effect == "Allow"
    ])) == toset(["s3:PutObject", "s3:DeleteObject", "kms:Decrypt", "kms:GenerateDataKey"])
    error_message = "Besides reading, who plans may take the state's lock."
  }

  assert {
    condition = alltrue([for policy in concat([aws_iam_role_policy.plan[0]], values(aws_iam_role_policy.deploy)) : alltrue([
      for action in ["secretsmanager:GetSecretValue", "sqs:ReceiveMessage", "s3:GetObject"] : anytrue([
        for statement in jsondecode(policy.policy).Statement : statement.Effect == "Deny" && contains(flatten([statement.Action]), action)
      ])
    ])])
    error_message = "Who plans or deploys must read no data."
  }

  assert {
    condition = alltrue([for environment, policy in aws_iam_role_policy.deploy : alltrue([
      for statement in jsondecode(policy.policy).Statement :
      try(statement.Condition.StringEquals["iam:PermissionsBoundary"], "") == "arn:aws:iam::111122223333:policy/totes-${environment}-boundary"
      if statement.Effect == "Allow" && length(setintersection(flatten([statement.Action]), ["iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PutRolePermissionsBoundary", "iam:*", "*"])) > 0
    ])])
    error_message = "No role may be made, or given a policy, beyond the boundary."
  }

  assert {
    condition = alltrue([for environment, policy in aws_iam_role_policy.deploy : alltrue([
      for statement in jsondecode(policy.policy).Statement :
      !strcontains(jsonencode(statement), environment == "dev" ? "totes-prod" : "totes-dev") || statement.Effect == "Deny"
    ])])
    error_message = "Who deploys one environment has no business in another."
  }

  assert {
    condition = alltrue([for policy in values(aws_iam_policy.boundary) : !strcontains(policy.policy, "iam:") || alltrue([
      for statement in jsondecode(policy.policy).Statement : alltrue([for action in flatten([statement.Action]) : !startswith(action, "iam:") && !startswith(action, "sts:") && !strcontains(action, "*")])
    ])])
    error_message = "Within the boundary no rights can be given on."
  }
}

run "without_github" {
  command = plan

  module {
    source = "./bootstrap"
  }

  assert {
    condition     = length(aws_iam_role.plan) + length(aws_iam_role.deploy) + length(aws_iam_openid_connect_provider.github) == 0 && length(aws_iam_policy.boundary) == 2
    error_message = "Without GitHub there must be no role for it."
  }
}

run "a_wildcard" {
  command = plan

  module {
    source = "./bootstrap"
  }

  variables {
    github_repository = "somebody/*"
    environments      = ["deploy"]
  }

  expect_failures = [var.github_repository, var.environments]
}
