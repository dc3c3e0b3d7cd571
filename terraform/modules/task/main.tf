# Work that no function does, on Fargate: the project's container with the settings and permissions of all
# stages together. Its command is chosen at each run, and there is no limit of 15 minutes.

data "aws_region" "current" {}

locals {
  image = "${aws_ecr_repository.this.repository_url}:${coalesce(var.image_tag, "none")}"

  container = "totes"

  # The program's folder, which the image declares as a volume: it keeps the owner that it has there. The
  # rest of the container's file system is read-only.
  home = "/var/lib/totes"

  # What each task definition runs, by the last part of its name.
  programs = merge(
    {
      task = {
        command     = ["--help"] # each run replaces it
        cpu         = var.cpu
        memory_mb   = var.memory_mb
        role        = aws_iam_role.task.arn
        environment = merge(var.environment, { TOTES_ALERT_TOPIC = var.alert_topic })
      }
    },
    { for role in aws_iam_role.create : "warehouse-creation" => {
      command   = ["warehouse", "create"]
      cpu       = 256
      memory_mb = 512
      role      = role.arn
      environment = {
        TOTES_WAREHOUSE_HOST          = var.create.host
        TOTES_WAREHOUSE_MASTER_SECRET = var.create.master_secret
        TOTES_WAREHOUSE_SECRET        = var.create.warehouse_secret
        TOTES_DASHBOARD_SECRET        = var.create.reader_secret
      }
    } },
  )
}

# -- Image

resource "aws_ecr_repository" "this" {
  name                 = var.name
  image_tag_mutability = "IMMUTABLE"
  force_delete         = true # images are built from commits

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "KMS"
    kms_key         = var.keys.data
  }
}

resource "aws_ecr_lifecycle_policy" "this" {
  repository = aws_ecr_repository.this.name
  policy = jsonencode({
    rules = [{
      rulePriority = 1
      description  = "Keep the latest images"
      selection    = { tagStatus = "any", countType = "imageCountMoreThan", countNumber = var.kept_images }
      action       = { type = "expire" }
    }]
  })
}

# -- Tasks

resource "aws_ecs_cluster" "this" {
  #checkov:skip=CKV_AWS_65:its metrics cost as much as the tasks, which run for minutes and log what they do
  name = var.name
}

resource "aws_cloudwatch_log_group" "this" {
  name              = "/aws/ecs/${var.name}-task"
  retention_in_days = var.log_days
  kms_key_id        = var.keys.signals
}

resource "aws_ecs_task_definition" "this" {
  for_each = local.programs

  family                   = "${var.name}-${each.key}"
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = each.value.cpu
  memory                   = each.value.memory_mb
  task_role_arn            = each.value.role
  execution_role_arn       = aws_iam_role.execution.arn

  # Terraform would deregister the revision before first: if it then fails, the schedule and `make task` have
  # none that is active.
  skip_destroy = true

  runtime_platform {
    cpu_architecture        = "X86_64"
    operating_system_family = "LINUX"
  }

  ephemeral_storage {
    size_in_gib = var.scratch_gb
  }

  volume {
    name = "home"
  }

  container_definitions = jsonencode([{
    name                   = local.container
    image                  = local.image
    command                = each.value.command
    memory                 = each.value.memory_mb # all of the task's
    essential              = true
    readonlyRootFilesystem = true
    stopTimeout            = 120 # for the current batch, the longest that Fargate allows
    mountPoints            = [{ sourceVolume = "home", containerPath = local.home, readOnly = false }]
    environment = [
      for name, value in merge(each.value.environment, {
        AWS_REGION   = data.aws_region.current.name
        TMPDIR       = local.home
        TOTES_MEMORY = "${floor(0.6 * each.value.memory_mb)}MB" # the rest is for Python
      }) : { name = name, value = value }
    ]
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = data.aws_region.current.name
        awslogs-stream-prefix = each.key
      }
    }
  }])
}
