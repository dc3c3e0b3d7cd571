# Who may do what: the task the work of all stages; the one-off task that creates the warehouse's roles its
# secrets; Fargate pulling the image and writing the log; the scheduler starting the task.

data "aws_caller_identity" "current" {}

locals {
  account = data.aws_caller_identity.current.account_id

  by_tasks = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
    }]
  })
}

# -- The task

module "permissions" {
  source = "../permissions"

  listable_buckets  = var.listable_buckets
  readable_objects  = var.readable_objects
  creatable_objects = var.creatable_objects
  secrets           = var.secrets
  alert_topic       = var.alert_topic
  keys              = var.keys
}

resource "aws_iam_role" "task" {
  name                 = "${var.name}-task"
  description          = "Permissions of all stages together, for the task."
  permissions_boundary = var.boundary
  assume_role_policy   = local.by_tasks
}

resource "aws_iam_role_policy" "task" {
  name   = "stages"
  role   = aws_iam_role.task.id
  policy = jsonencode({ Version = "2012-10-17", Statement = module.permissions.statements })
}

# -- The task that creates the warehouse's roles and database

resource "aws_iam_role" "create" {
  count = var.create == null ? 0 : 1

  name                 = "${var.name}-warehouse-creation"
  description          = "Creates the roles of the warehouse and stores their logins."
  permissions_boundary = var.boundary
  assume_role_policy   = local.by_tasks
}

resource "aws_iam_role_policy" "create" {
  count = var.create == null ? 0 : 1

  name = "logins"
  role = aws_iam_role.create[0].id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadMaster"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [var.create.master_secret]
      },
      {
        Sid      = "StoreLogins"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue", "secretsmanager:PutSecretValue"]
        Resource = [var.create.warehouse_secret, var.create.reader_secret]
      },
      {
        Sid      = "UseKey"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = [var.keys.secrets]
      },
    ]
  })
}

# -- Fargate

resource "aws_iam_role" "execution" {
  name                 = "${var.name}-task-execution"
  description          = "Pulls the image and writes the log of tasks."
  permissions_boundary = var.boundary
  assume_role_policy   = local.by_tasks
}

resource "aws_iam_role_policy" "execution" {
  #checkov:skip=CKV_AWS_355:the token of the registry has no ARN
  name = "start"
  role = aws_iam_role.execution.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "SignInToRegistry"
        Effect   = "Allow"
        Action   = ["ecr:GetAuthorizationToken"]
        Resource = "*"
      },
      {
        Sid      = "PullImage"
        Effect   = "Allow"
        Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
        Resource = [aws_ecr_repository.this.arn]
      },
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${aws_cloudwatch_log_group.this.arn}:*"]
      },
    ]
  })
}
