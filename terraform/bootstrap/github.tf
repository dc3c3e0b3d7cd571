# GitHub's workflows assume roles by OIDC, without stored keys. One role plans, for pull requests and for
# what main will deploy, and can't read data. One role for each environment deploys, only from jobs that the
# environment has approved.

locals {
  issuer   = "token.actions.githubusercontent.com"
  on       = var.github_repository != null
  provider = "arn:${local.partition}:iam::${local.account}:oidc-provider/${local.issuer}"

  # GitHub writes IDs behind both names, which stay with their owner, for repositories created, renamed
  # or transferred since 2026-07-15, and for those that chose it.
  names   = local.on ? split("/", var.github_repository) : []
  subject = local.on ? var.github_owner_id == null ? "repo:${var.github_repository}" : "repo:${local.names[0]}@${var.github_owner_id}/${local.names[1]}@${var.github_repository_id}" : null

  deployed = local.on ? var.environments : toset([])
  bounded  = { for environment in var.environments : environment => "arn:${local.partition}:iam::${local.account}:policy/totes-${environment}-boundary" }

  # Access to data, which planning and deploying do not need.
  data_is_not_read = {
    Sid    = "DenyReadingData"
    Effect = "Deny"
    Action = [
      "athena:GetQueryResults*",
      "logs:FilterLogEvents",
      "logs:GetLogEvents",
      "logs:GetLogObject",
      "logs:GetLogRecord",
      "logs:StartLiveTail",
      "logs:StartQuery",
      "rds:Download*", # PostgreSQL's log
      "secretsmanager:BatchGetSecretValue",
      "secretsmanager:GetSecretValue",
      "secretsmanager:PutSecretValue",
      "sqs:ReceiveMessage",
    ]
    Resource = "*"
  }
  objects_are_not_read = {
    Sid         = "DenyObjectsExceptStateAndBundles"
    Effect      = "Deny"
    Action      = ["s3:GetObject", "s3:GetObjectVersion"]
    NotResource = ["${module.state.arn}/*", "arn:${local.partition}:s3:::totes-*-artefacts-*/*"]
  }
}

resource "aws_iam_openid_connect_provider" "github" {
  count = local.on && !var.github_provider_exists ? 1 : 0

  url            = "https://${local.issuer}"
  client_id_list = ["sts.amazonaws.com"]
}

# -- Plan

resource "aws_iam_role" "plan" {
  #checkov:skip=CKV_AWS_393:the repository is a variable, which takes no wildcard; checkov reads it as null
  count = local.on ? 1 : 0

  name        = "totes-plan"
  description = "Plans for pull requests and for main of ${var.github_repository}."
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = local.provider }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = { StringEquals = {
        "${local.issuer}:aud" = "sts.amazonaws.com"
        "${local.issuer}:sub" = [for subject in ["pull_request", "ref:refs/heads/main"] : "${local.subject}:${subject}"]
      } }
    }]
  })

  depends_on = [aws_iam_openid_connect_provider.github]
}

resource "aws_iam_role_policy_attachment" "plan_reads" {
  count = local.on ? 1 : 0

  role       = aws_iam_role.plan[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/ReadOnlyAccess"
}

resource "aws_iam_role_policy" "plan" {
  count = local.on ? 1 : 0

  name = "plan"
  role = aws_iam_role.plan[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "DecryptState" # a plan takes no lock, so it can't block a deployment
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = aws_kms_key.state.arn
      },
      {
        # Without it Lambda returns no settings, and each plan would set them again.
        Sid      = "DecryptFunctionSettings"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = "arn:${local.partition}:kms:*:${local.account}:key/*"
        Condition = {
          StringEquals = { "aws:ResourceTag/Environment" = sort(var.environments) }
          StringLike   = { "kms:ViaService" = "lambda.*.amazonaws.com" }
        }
      },
      {
        # ReadOnlyAccess includes it, and it returns the client secret of a pool at which users sign in.
        Sid      = "DenyReadingClientSecrets"
        Effect   = "Deny"
        Action   = "cognito-idp:DescribeUserPoolClient"
        Resource = "*"
      },
      local.data_is_not_read,
      local.objects_are_not_read,
    ]
  })
}

# -- Deploy

resource "aws_iam_role" "deploy" {
  #checkov:skip=CKV_AWS_393:the repository is a variable, which takes no wildcard; checkov reads it as null
  for_each = local.deployed

  name                 = "totes-deploy-${each.key}"
  description          = "Deploys totes-${each.key} from ${var.github_repository}."
  max_session_duration = 90 * 60 # as long as the workflows' jobs
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Federated = local.provider }
      Action    = "sts:AssumeRoleWithWebIdentity"
      Condition = { StringEquals = {
        "${local.issuer}:aud" = "sts.amazonaws.com"
        "${local.issuer}:sub" = "${local.subject}:environment:${each.key}"
      } }
    }]
  })

  depends_on = [aws_iam_openid_connect_provider.github]
}

resource "aws_iam_role_policy_attachment" "deploy_reads" {
  for_each = local.deployed

  role       = aws_iam_role.deploy[each.key].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/ReadOnlyAccess"
}

resource "aws_iam_role_policy" "deploy" {
  #checkov:skip=CKV_AWS_355:resources without a name before their creation (networks, keys) are restricted by tags if AWS supports them
  #checkov:skip=CKV_AWS_290:resources without a name before their creation are restricted by tags if AWS supports them
  #checkov:skip=CKV_AWS_289:roles can only be created with the boundary, which can't be changed
  #checkov:skip=CKV_AWS_286:roles can only be created with the boundary, which can't be changed
  #checkov:skip=CKV_AWS_287:data_is_not_read denies the values of secrets
  #checkov:skip=CKV_AWS_288:objects_are_not_read denies the data
  for_each = local.deployed

  name = "deploy"
  role = aws_iam_role.deploy[each.key].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadAndWriteState"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
        Resource = "${module.state.arn}/${each.key}/*"
      },
      {
        Sid      = "DecryptState"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = aws_kms_key.state.arn
      },
      {
        Sid    = "ManageOwnResources"
        Effect = "Allow"
        Action = [
          "athena:*",
          "budgets:*",
          "cloudtrail:*",
          "cloudwatch:*",
          "ecr:*",
          "ecs:*",
          "elasticloadbalancing:*",
          "events:*",
          "glue:*",
          "lambda:*",
          "logs:*",
          "rds:*",
          "s3:*",
          "scheduler:*",
          "secretsmanager:*",
          "sns:*",
          "wafv2:*",
        ]
        Resource = local.own[each.key]
      },
      {
        # CloudWatch refuses a permission for some names: "scoped to *" in its API's reference.
        Sid      = "ComposeAlarms"
        Effect   = "Allow"
        Action   = "cloudwatch:PutCompositeAlarm"
        Resource = "*"
      },
      {
        # A firewall also needs it on the rules of AWS that it uses.
        Sid      = "FirewallRules"
        Effect   = "Allow"
        Action   = ["wafv2:CreateWebACL", "wafv2:UpdateWebACL"]
        Resource = "arn:${local.partition}:wafv2:*:${local.account}:regional/managedruleset/*"
      },
      {
        # Each RDS instance has an option group, by default one of AWS.
        Sid      = "RdsDefaultOptionGroups"
        Effect   = "Allow"
        Action   = ["rds:CreateDBInstance", "rds:ModifyDBInstance"]
        Resource = "arn:${local.partition}:rds:*:${local.account}:og:default:*"
      },
      {
        # Neither has an ARN: a token of the registry, and removing an old task definition, of which running
        # tasks and its other versions are independent.
        Sid      = "SignInToRegistryAndRemoveTaskDefinitions"
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken", "ecs:DeregisterTaskDefinition"]
        Resource = "*"
      },
      {
        # RDS creates the master's secret with the permissions of the instance's creator.
        Sid      = "RdsMasterUserSecret"
        Effect   = "Allow"
        Action   = ["secretsmanager:CreateSecret", "secretsmanager:TagResource"]
        Resource = "arn:${local.partition}:secretsmanager:*:${local.account}:secret:rds!db-*"
      },
      {
        Sid    = "ManageOwnPolicies"
        Effect = "Allow"
        Action = [
          "iam:CreatePolicy",
          "iam:AddRoleToInstanceProfile",
          "iam:CreateInstanceProfile",
          "iam:CreatePolicyVersion",
          "iam:DeleteInstanceProfile",
          "iam:DeletePolicy",
          "iam:DeletePolicyVersion",
          "iam:DeleteRole",
          "iam:DetachRolePolicy",
          "iam:DeleteRolePolicy",
          "iam:RemoveRoleFromInstanceProfile",
          "iam:TagInstanceProfile",
          "iam:TagPolicy",
          "iam:TagRole",
          "iam:UntagPolicy",
          "iam:UntagRole",
          "iam:UpdateRole",
          "iam:UpdateRoleDescription",
          "iam:UpdateAssumeRolePolicy",
        ]
        Resource = [
          "arn:${local.partition}:iam::${local.account}:instance-profile/totes-${each.key}-*",
          "arn:${local.partition}:iam::${local.account}:policy/totes-${each.key}-*",
          "arn:${local.partition}:iam::${local.account}:role/totes-${each.key}-*",
        ]
      },
      {
        Sid    = "ManageRolesWithBoundary"
        Effect = "Allow"
        Action = [
          "iam:AttachRolePolicy",
          "iam:CreateRole",
          "iam:PutRolePermissionsBoundary",
          "iam:PutRolePolicy",
        ]
        Resource  = "arn:${local.partition}:iam::${local.account}:role/totes-${each.key}-*"
        Condition = { StringEquals = { "iam:PermissionsBoundary" = local.bounded[each.key] } }
      },
      {
        Sid      = "DenyBoundaryChanges"
        Effect   = "Deny"
        Action   = ["iam:CreatePolicyVersion", "iam:DeletePolicy", "iam:DeletePolicyVersion", "iam:SetDefaultPolicyVersion"]
        Resource = values(local.bounded)
      },
      {
        Sid      = "DenyBoundaryRemoval"
        Effect   = "Deny"
        Action   = "iam:DeleteRolePermissionsBoundary"
        Resource = "*"
      },
      {
        Sid      = "PassOwnRoles"
        Effect   = "Allow"
        Action   = "iam:PassRole"
        Resource = "arn:${local.partition}:iam::${local.account}:role/totes-${each.key}-*"
        Condition = { StringEquals = { "iam:PassedToService" = [
          "ec2.amazonaws.com",
          "ecs-tasks.amazonaws.com",
          "emr-serverless.amazonaws.com",
          "lambda.amazonaws.com",
          "monitoring.rds.amazonaws.com",
          "scheduler.amazonaws.com",
          "vpc-flow-logs.amazonaws.com",
        ] } }
      },
      {
        Sid       = "CreateServiceLinkedRoles"
        Effect    = "Allow"
        Action    = "iam:CreateServiceLinkedRole"
        Resource  = "arn:${local.partition}:iam::${local.account}:role/aws-service-role/*"
        Condition = { StringEquals = { "iam:AWSServiceName" = ["ecs.amazonaws.com", "elasticloadbalancing.amazonaws.com", "ops.emr-serverless.amazonaws.com", "rds.amazonaws.com", "wafv2.amazonaws.com"] } }
      },
      {
        # An application has a random id.
        Sid       = "CreateSparkApplications"
        Effect    = "Allow"
        Action    = ["emr-serverless:CreateApplication", "emr-serverless:TagResource"]
        Resource  = "arn:${local.partition}:emr-serverless:*:${local.account}:/*"
        Condition = { StringEquals = { "aws:RequestTag/Environment" = each.key } }
      },
      {
        Sid       = "ManageOwnSparkApplications"
        Effect    = "Allow"
        Action    = "emr-serverless:*"
        Resource  = "arn:${local.partition}:emr-serverless:*:${local.account}:/applications/*"
        Condition = { StringEquals = { "aws:ResourceTag/Environment" = each.key } }
      },
      {
        Sid       = "CreateKeys"
        Effect    = "Allow"
        Action    = ["kms:CreateKey", "kms:TagResource"]
        Resource  = "*"
        Condition = { StringEquals = { "aws:RequestTag/Environment" = each.key } }
      },
      {
        Sid       = "ManageOwnKeys"
        Effect    = "Allow"
        Action    = "kms:*"
        Resource  = "arn:${local.partition}:kms:*:${local.account}:key/*"
        Condition = { StringEquals = { "aws:ResourceTag/Environment" = each.key } }
      },
      {
        Sid      = "ManageKeyAliases"
        Effect   = "Allow"
        Action   = ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"]
        Resource = "arn:${local.partition}:kms:*:${local.account}:alias/totes-${each.key}-*"
      },
      {
        # Network resources have no name before their creation; tags restrict the existing ones.
        Sid    = "CreateNetwork"
        Effect = "Allow"
        Action = [
          "ec2:AcceptVpcPeeringConnection",
          "ec2:AllocateAddress",
          "ec2:Associate*",
          "ec2:AttachInternetGateway",
          "ec2:AuthorizeSecurityGroup*",
          "ec2:Create*",
          "ec2:DeleteNetworkInterface", # Lambda's have no tags; none in use can be deleted
          "ec2:RunInstances",
          "logs:CreateLogDelivery",
          "logs:DeleteLogDelivery",
          "logs:PutResourcePolicy",             # by WAF, for its log
          "route53:AssociateVPCWithHostedZone", # an endpoint's private name
        ]
        Resource = "*"
      },
      {
        # Else setting a tag would allow changing another environment's network and using its keys.
        Sid      = "DenyTaggingOtherResources"
        Effect   = "Deny"
        Action   = ["ec2:CreateTags", "emr-serverless:TagResource", "kms:TagResource"]
        Resource = "*"
        Condition = {
          Null            = { "aws:ResourceTag/Environment" = "false" }
          StringNotEquals = { "aws:ResourceTag/Environment" = each.key }
        }
      },
      {
        # As above, for what has no such tag: it is set only during creation, but for the default security
        # group, which its network creates without tags.
        Sid         = "DenyTaggingForeignNetworks"
        Effect      = "Deny"
        Action      = "ec2:CreateTags"
        NotResource = "arn:${local.partition}:ec2:*:${local.account}:security-group/*"
        Condition   = { Null = { "ec2:CreateAction" = "true", "aws:ResourceTag/Environment" = "true" } }
      },
      {
        # A new key has no alias yet.
        Sid       = "DenyTaggingForeignKeys"
        Effect    = "Deny"
        Action    = "kms:TagResource"
        Resource  = "*"
        Condition = { "ForAnyValue:StringNotLike" = { "kms:ResourceAliases" = "alias/totes-${each.key}-*" } }
      },
      {
        # The permissions above without a tag's condition are also about networks that exist.
        Sid      = "DenyOtherEnvironmentsNetworks"
        Effect   = "Deny"
        Action   = "ec2:*"
        Resource = "*"
        Condition = {
          StringEquals    = { "aws:ResourceTag/Project" = "totes" }
          StringNotEquals = { "aws:ResourceTag/Environment" = each.key }
        }
      },
      {
        Sid    = "ChangeNetwork"
        Effect = "Allow"
        Action = [
          "ec2:Delete*",
          "ec2:Detach*",
          "ec2:Disassociate*",
          "ec2:Modify*",
          "ec2:ReleaseAddress",
          "ec2:ReplaceRoute*",
          "ec2:RevokeSecurityGroup*",
          "ec2:TerminateInstances",
          "ec2:UpdateSecurityGroup*",
        ]
        Resource  = "*"
        Condition = { StringEquals = { "aws:ResourceTag/Environment" = each.key } }
      },
      local.data_is_not_read,
      merge(local.objects_are_not_read, {
        NotResource = ["${module.state.arn}/${each.key}/*", "arn:${local.partition}:s3:::totes-${each.key}-artefacts-*/*"]
      }),
    ]
  })
}
