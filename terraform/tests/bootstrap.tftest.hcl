# The identities of GitHub's workflows, and the limits of their permissions.

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
      plan = { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com", "token.actions.githubusercontent.com:sub" = ["repo:somebody/totes:pull_request", "repo:somebody/totes:ref:refs/heads/main"] }
      dev  = { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com", "token.actions.githubusercontent.com:sub" = "repo:somebody/totes:environment:dev" }
      prod = { "token.actions.githubusercontent.com:aud" = "sts.amazonaws.com", "token.actions.githubusercontent.com:sub" = "repo:somebody/totes:environment:prod" }
    }
    error_message = "Each role must be limited to one repository, and to one environment or to pull requests and main."
  }

  assert {
    condition = toset(flatten([
      for statement in jsondecode(aws_iam_role_policy.plan[0].policy).Statement : statement.Action if statement.Effect == "Allow"
    ])) == toset(["kms:Decrypt"])
    error_message = "The plan role must be read-only."
  }

  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.plan[0].policy).Statement : statement.Sid => try(statement.Condition, null) if statement.Effect == "Allow" } == {
      DecryptState = null
      DecryptFunctionSettings = {
        StringEquals = { "aws:ResourceTag/Environment" = ["dev", "prod"] }
        StringLike   = { "kms:ViaService" = "lambda.*.amazonaws.com" }
      }
    }
    error_message = "The plan role must decrypt only the state and the functions' settings."
  }

  # Permissions on resources without the environment's name that RDS and endpoints need.
  assert {
    condition = alltrue([for environment, policy in aws_iam_role_policy.deploy : {
      for statement in jsondecode(policy.policy).Statement : statement.Sid => statement.Resource if startswith(statement.Sid, "Rds")
      } == {
      RdsDefaultOptionGroups = "arn:aws:rds:*:111122223333:og:default:*"
      RdsMasterUserSecret    = "arn:aws:secretsmanager:*:111122223333:secret:rds!db-*"
    } && strcontains(policy.policy, "route53:AssociateVPCWithHostedZone")])
    error_message = "The deploy role must be able to create the warehouse and the endpoints."
  }

  assert {
    condition = alltrue([for policy in aws_iam_role_policy.deploy : anytrue([
      for statement in jsondecode(policy.policy).Statement :
      statement.Effect == "Allow" && try(statement.Resource, null) == "*" && contains(flatten([statement.Action]), "cloudwatch:PutCompositeAlarm")
    ])])
    error_message = "CloudWatch refuses a permission to compose alarms that is not for all names."
  }

  assert {
    condition = alltrue([for environment, policy in aws_iam_role_policy.deploy : anytrue([
      for statement in jsondecode(policy.policy).Statement :
      statement.Effect == "Deny" && contains(flatten([statement.Action]), "ec2:CreateTags") && try(statement.Condition, null) == {
        Null            = { "aws:ResourceTag/Environment" = "false" }
        StringNotEquals = { "aws:ResourceTag/Environment" = environment }
      }
    ])])
    error_message = "The deploy role must not be able to tag another environment's network."
  }

  assert {
    condition = alltrue([for policy in concat([aws_iam_role_policy.plan[0]], values(aws_iam_role_policy.deploy)) : alltrue([
      for action in ["secretsmanager:GetSecretValue", "sqs:ReceiveMessage", "s3:GetObject", "logs:StartLiveTail", "rds:Download*"] : anytrue([
        for statement in jsondecode(policy.policy).Statement : statement.Effect == "Deny" && contains(flatten([statement.Action]), action)
      ])
    ])])
    error_message = "The plan and deploy roles must not read data."
  }

  assert {
    condition = alltrue([for environment, policy in aws_iam_role_policy.deploy : alltrue([
      for statement in jsondecode(policy.policy).Statement :
      try(statement.Condition.StringEquals["iam:PermissionsBoundary"], "") == "arn:aws:iam::111122223333:policy/totes-${environment}-boundary"
      if statement.Effect == "Allow" && length(setintersection(flatten([statement.Action]), ["iam:CreateRole", "iam:PutRolePolicy", "iam:AttachRolePolicy", "iam:PutRolePermissionsBoundary", "iam:*", "*"])) > 0
    ])])
    error_message = "Roles must only be created, or get policies, with the boundary."
  }

  assert {
    condition = alltrue([for environment, policy in aws_iam_role_policy.deploy : alltrue([
      for statement in jsondecode(policy.policy).Statement :
      !strcontains(jsonencode(statement), environment == "dev" ? "totes-prod" : "totes-dev") || statement.Effect == "Deny"
    ])])
    error_message = "The deploy role must not change another environment."
  }

  # Statements of the boundary that are not about the environment's own resources in general.
  assert {
    condition = alltrue([for environment, policy in aws_iam_policy.boundary : {
      for statement in jsondecode(policy.policy).Statement : statement.Sid => statement if contains(["StartOwnTasks", "StartOwnSparkJobs", "ReadWarehouseMaster", "StoreLogins"], statement.Sid)
      } == {
      StartOwnTasks = {
        Sid      = "StartOwnTasks"
        Effect   = "Allow"
        Action   = "iam:PassRole"
        Resource = ["arn:aws:iam::111122223333:role/totes-${environment}-task", "arn:aws:iam::111122223333:role/totes-${environment}-task-execution"]
        Condition = {
          ArnEquals    = { "aws:PrincipalArn" = "arn:aws:iam::111122223333:role/totes-${environment}-task-scheduler" }
          StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" }
        }
      }
      StartOwnSparkJobs = {
        Sid      = "StartOwnSparkJobs"
        Effect   = "Allow"
        Action   = "iam:PassRole"
        Resource = "arn:aws:iam::111122223333:role/totes-${environment}-spark"
        Condition = {
          ArnEquals    = { "aws:PrincipalArn" = "arn:aws:iam::111122223333:role/totes-${environment}-transform" }
          StringEquals = { "iam:PassedToService" = "emr-serverless.amazonaws.com" }
        }
      }
      ReadWarehouseMaster = {
        Sid      = "ReadWarehouseMaster"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = "arn:aws:secretsmanager:*:111122223333:secret:rds!db-*"
        Condition = {
          ArnEquals = { "aws:PrincipalArn" = "arn:aws:iam::111122223333:role/totes-${environment}-warehouse-creation" }
          ArnLike   = { "aws:ResourceTag/aws:rds:primaryDBInstanceArn" = "arn:aws:rds:*:111122223333:db:totes-${environment}" }
        }
      }
      StoreLogins = {
        Sid       = "StoreLogins"
        Effect    = "Allow"
        Action    = "secretsmanager:PutSecretValue"
        Resource  = "arn:aws:secretsmanager:*:111122223333:secret:totes-${environment}/*"
        Condition = { ArnEquals = { "aws:PrincipalArn" = "arn:aws:iam::111122223333:role/totes-${environment}-warehouse-creation" } }
      }
    }])
    error_message = "Only the scheduler must be allowed to start tasks, and transform Spark's jobs, with their roles, and only the task that creates the warehouse's roles to read its master and to store logins."
  }

  assert {
    condition = alltrue([for policy in values(aws_iam_policy.boundary) : alltrue([
      for statement in jsondecode(policy.policy).Statement : alltrue([
        for action in flatten([statement.Action]) : !startswith(action, "sts:") && !strcontains(action, "*") && (!startswith(action, "iam:") || startswith(statement.Sid, "StartOwn"))
      ])
    ])])
    error_message = "The boundary must not allow granting permissions."
  }

  assert {
    condition = alltrue([for environment, policy in aws_iam_policy.boundary : !anytrue([
      for statement in jsondecode(policy.policy).Statement : contains(flatten([statement.Action]), "secretsmanager:PutSecretValue") && statement.Sid != "StoreLogins"
    ])])
    error_message = "No other role must be allowed to store a login."
  }

  # IAM's limits: for a role's inline policies in total, and for a managed policy.
  assert {
    condition     = max([for policy in aws_iam_role_policy.deploy : length(policy.policy)]...) <= 10240 && max([for policy in aws_iam_policy.boundary : length(policy.policy)]...) <= 6144
    error_message = "A policy exceeds IAM's size limit: ${jsonencode([for policy in concat(values(aws_iam_role_policy.deploy), values(aws_iam_policy.boundary)) : length(policy.policy)])}."
  }
}

# GitHub's subjects of a repository created, renamed or transferred since 2026-07-15.
run "with_ids" {
  command = plan

  module {
    source = "./bootstrap"
  }

  variables {
    github_repository    = "somebody/totes"
    github_owner_id      = 123456
    github_repository_id = 1045678901
  }

  assert {
    condition = { for name, role in merge({ plan = aws_iam_role.plan[0] }, aws_iam_role.deploy) : name =>
      jsondecode(role.assume_role_policy).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:sub"]
      } == {
      plan = ["repo:somebody@123456/totes@1045678901:pull_request", "repo:somebody@123456/totes@1045678901:ref:refs/heads/main"]
      dev  = "repo:somebody@123456/totes@1045678901:environment:dev"
      prod = "repo:somebody@123456/totes@1045678901:environment:prod"
    }
    error_message = "With IDs, each role must be limited to the repository that has them."
  }
}

run "one_number" {
  command = plan

  module {
    source = "./bootstrap"
  }

  variables {
    github_repository    = "somebody/totes"
    github_repository_id = 1045678901
  }

  expect_failures = [var.github_owner_id]
}

run "without_github" {
  command = plan

  module {
    source = "./bootstrap"
  }

  assert {
    condition     = length(aws_iam_role.plan) + length(aws_iam_role.deploy) + length(aws_iam_openid_connect_provider.github) == 0 && length(aws_iam_policy.boundary) == 2
    error_message = "Without GitHub there must be no roles for it."
  }
}

run "a_wildcard" {
  command = plan

  module {
    source = "./bootstrap"
  }

  variables {
    github_repository    = "somebody/*"
    github_owner_id      = 123456
    github_repository_id = 0.5
    environments         = ["deploy"]
  }

  expect_failures = [var.github_repository, var.github_repository_id, var.environments]
}
