# The dashboard: tasks on Fargate with a copy of the warehouse each, behind a load balancer at which users
# sign in. The program does not know who they are, and shows what viewers may see.

data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

locals {
  name = "${var.name}-dashboard"
  port = 8501

  # The program's folder, which the image declares as a volume: it keeps the owner that it has there. The
  # rest of the container's file system is read-only.
  home = "/var/lib/totes"

  environment = merge(var.settings, {
    TOTES_DASHBOARD_SECRET = var.login_secret
    TOTES_DASHBOARD_URL    = "https://${var.domain}"
    FORWARDED_ALLOW_IPS    = join(",", var.public_subnets[*].cidr) # of the load balancer, for the limits of an address
    TMPDIR                 = local.home
  })
}

resource "aws_ecs_task_definition" "this" {
  family                   = local.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory_mb
  task_role_arn            = aws_iam_role.this.arn
  execution_role_arn       = var.execution_role

  # Terraform would deregister the revision before, and ECS rolls back to no revision that is deregistered.
  skip_destroy = true

  runtime_platform {
    cpu_architecture        = "X86_64"
    operating_system_family = "LINUX"
  }

  volume {
    name = "home"
  }

  container_definitions = jsonencode([{
    name                   = "dashboard"
    image                  = var.image
    command                = ["dashboard", "--host", "0.0.0.0", "--port", tostring(local.port), "--viewers-only"]
    essential              = true
    readonlyRootFilesystem = true
    mountPoints            = [{ sourceVolume = "home", containerPath = local.home, readOnly = false }]
    portMappings           = [{ containerPort = local.port, protocol = "tcp" }]
    environment            = [for name, value in local.environment : { name = name, value = value }]
    healthCheck = {
      command     = ["CMD", "python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:${local.port}${local.health}', timeout=4)"]
      interval    = 30
      timeout     = 5
      retries     = 3
      startPeriod = 60
    }
    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = var.log_group
        awslogs-region        = data.aws_region.current.name
        awslogs-stream-prefix = "dashboard"
      }
    }
  }])
}

resource "aws_ecs_service" "this" {
  name                              = "dashboard"
  cluster                           = var.cluster
  task_definition                   = aws_ecs_task_definition.this.arn
  launch_type                       = "FARGATE"
  desired_count                     = var.tasks
  health_check_grace_period_seconds = 60
  propagate_tags                    = "SERVICE"
  availability_zone_rebalancing     = "ENABLED" # two zones again after one has failed

  # New tasks must be healthy before old ones end; if they never are, the old version stays, and the
  # deployment fails.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  wait_for_steady_state = true # which the version before reaches, too, after it was rolled back

  lifecycle {
    postcondition {
      condition     = self.task_definition == aws_ecs_task_definition.this.arn
      error_message = "New tasks of the dashboard were not healthy, and ECS has rolled them back. Read why in the log group ${var.log_group}."
    }
  }

  network_configuration {
    subnets          = var.subnets
    security_groups  = [var.security_group]
    assign_public_ip = false
  }

  load_balancer {
    target_group_arn = aws_lb_target_group.this.arn
    container_name   = "dashboard"
    container_port   = local.port
  }

  depends_on = [aws_lb_listener.https, aws_iam_role_policy.this]
}

# -- Permissions: the login that reads the warehouse

resource "aws_iam_role" "this" {
  name                 = local.name
  description          = "Reads the login of the dashboard."
  permissions_boundary = var.boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = "login"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadLogin"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [var.login_secret]
      },
      {
        Sid      = "DecryptLogin"
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = [var.keys.secrets]
      },
    ]
  })
}
