# The task on Fargate: its image, container, roles and nightly verify.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  name              = "totes-test"
  image_tag         = "0123abc"
  cpu               = 2048
  memory_mb         = 8192
  scratch_gb        = 50
  environment       = { TOTES_INGESTION_URL = "s3://ingestion" }
  listable_buckets  = ["arn:aws:s3:::ingestion"]
  readable_objects  = ["arn:aws:s3:::ingestion/*"]
  creatable_objects = ["arn:aws:s3:::ingestion/*"]
  secrets           = ["arn:aws:secretsmanager:eu-west-2:111122223333:secret:source"]
  alert_topic       = "arn:aws:sns:eu-west-2:111122223333:alerts"
  log_days          = 365
  schedule_group    = "totes-test"
  network           = { subnets = ["subnet-1", "subnet-2"], security_group = "sg-task" }
  keys = {
    data    = "arn:aws:kms:eu-west-2:111122223333:key/data"
    secrets = "arn:aws:kms:eu-west-2:111122223333:key/secrets"
    signals = "arn:aws:kms:eu-west-2:111122223333:key/signals"
  }
}

run "task" {
  command = plan

  module {
    source = "./modules/task"
  }

  variables {
    verify_cron = "30 4 * * ? *"
    enabled     = true
    create = {
      host             = "warehouse.example.internal"
      master_secret    = "arn:aws:secretsmanager:eu-west-2:111122223333:secret:rds!db-master"
      warehouse_secret = "arn:aws:secretsmanager:eu-west-2:111122223333:secret:warehouse"
      reader_secret    = "arn:aws:secretsmanager:eu-west-2:111122223333:secret:reader"
    }
  }

  assert {
    condition = (
      aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE" &&
      aws_ecr_repository.this.image_scanning_configuration[0].scan_on_push &&
      aws_ecr_repository.this.encryption_configuration[0].encryption_type == "KMS" &&
      aws_ecr_repository.this.encryption_configuration[0].kms_key == var.keys.data
    )
    error_message = "Images must be immutable, scanned and encrypted."
  }

  assert {
    condition     = jsondecode(aws_ecr_lifecycle_policy.this.policy).rules[0].selection == { tagStatus = "any", countType = "imageCountMoreThan", countNumber = 20 }
    error_message = "Only the latest images must be kept."
  }

  assert {
    condition = { for name, made in aws_ecs_task_definition.this : name => [
      join(",", made.requires_compatibilities), made.network_mode, made.cpu, made.memory, tostring(made.ephemeral_storage[0].size_in_gib), made.runtime_platform[0].cpu_architecture,
      ] } == {
      task               = ["FARGATE", "awsvpc", "2048", "8192", "50", "X86_64"]
      warehouse-creation = ["FARGATE", "awsvpc", "256", "512", "50", "X86_64"]
    }
    error_message = "The size of a task is wrong."
  }

  assert {
    condition     = alltrue([for made in aws_ecs_task_definition.this : made.skip_destroy])
    error_message = "The schedule must never name a task definition that Terraform has deregistered."
  }

  # The one writable folder is the volume, which also takes temporary files.
  assert {
    condition = alltrue([for name, made in aws_ecs_task_definition.this : alltrue([for container in jsondecode(made.container_definitions) :
      container.name == "totes" && container.image == "111122223333.dkr.ecr.eu-west-2.amazonaws.com/mock:0123abc" &&
      container.readonlyRootFilesystem && container.essential && container.stopTimeout == 120 && !can(container.user) &&
      container.mountPoints == [{ sourceVolume = "home", containerPath = "/var/lib/totes", readOnly = false }] &&
      [for volume in made.volume : volume.name] == ["home"] &&
      contains(container.environment, { name = "TMPDIR", value = "/var/lib/totes" }) &&
      contains(container.environment, { name = "AWS_REGION", value = "eu-west-2" })
    ])])
    error_message = "A container must run the image with one writable folder."
  }

  assert {
    condition = { for name, made in aws_ecs_task_definition.this : name => {
      for pair in jsondecode(made.container_definitions)[0].environment : pair.name => pair.value if startswith(pair.name, "TOTES_")
      } } == {
      task = {
        TOTES_ALERT_TOPIC   = var.alert_topic
        TOTES_INGESTION_URL = "s3://ingestion"
        TOTES_MEMORY        = "4915MB"
      }
      warehouse-creation = {
        TOTES_MEMORY                  = "307MB"
        TOTES_DASHBOARD_SECRET        = var.create.reader_secret
        TOTES_WAREHOUSE_HOST          = var.create.host
        TOTES_WAREHOUSE_MASTER_SECRET = var.create.master_secret
        TOTES_WAREHOUSE_SECRET        = var.create.warehouse_secret
      }
    }
    error_message = "A task must get its settings, and 60 % of its memory for the program."
  }

  assert {
    condition = { for name, made in aws_ecs_task_definition.this : name => jsondecode(made.container_definitions)[0].command } == {
      task               = ["--help"]
      warehouse-creation = ["warehouse", "create"]
    }
    error_message = "Without a command of its own, a task must change nothing but the warehouse's roles."
  }

  assert {
    condition = alltrue([for name, made in aws_ecs_task_definition.this : alltrue([for container in jsondecode(made.container_definitions) :
      container.logConfiguration == {
        logDriver = "awslogs"
        options   = { awslogs-group = "/aws/ecs/totes-test-task", awslogs-region = "eu-west-2", awslogs-stream-prefix = name }
      }
    ])]) && aws_cloudwatch_log_group.this.kms_key_id == var.keys.signals && aws_cloudwatch_log_group.this.retention_in_days == 365
    error_message = "Tasks must write to an encrypted log that expires."
  }

  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.create[0].policy).Statement : join(" ", statement.Action) => statement.Resource
      } == {
      "secretsmanager:GetSecretValue"                               = [var.create.master_secret]
      "secretsmanager:GetSecretValue secretsmanager:PutSecretValue" = [var.create.warehouse_secret, var.create.reader_secret]
      "kms:Decrypt kms:GenerateDataKey"                             = [var.keys.secrets]
    }
    error_message = "The task that creates the warehouse's roles must reach its secrets only."
  }

  assert {
    condition = {
      for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : join(" ", statement.Action) => flatten([statement.Resource])
      } == {
      "ecr:GetAuthorizationToken"                                                    = ["*"]
      "ecr:BatchCheckLayerAvailability ecr:BatchGetImage ecr:GetDownloadUrlForLayer" = [aws_ecr_repository.this.arn]
      "logs:CreateLogStream logs:PutLogEvents"                                       = ["${aws_cloudwatch_log_group.this.arn}:*"]
    }
    error_message = "Fargate must only pull the image and write the log."
  }

  assert {
    condition = alltrue([for role in [aws_iam_role.task, aws_iam_role.create[0], aws_iam_role.execution] :
      jsondecode(role.assume_role_policy).Statement == [{
        Effect    = "Allow"
        Principal = { Service = "ecs-tasks.amazonaws.com" }
        Action    = "sts:AssumeRole"
        Condition = { StringEquals = { "aws:SourceAccount" = "111122223333" } }
      }]
    ])
    error_message = "Only tasks of this account must get the roles."
  }

  assert {
    condition = (
      aws_scheduler_schedule.this["verify"].schedule_expression == "cron(30 4 * * ? *)" && aws_scheduler_schedule.this["verify"].state == "ENABLED" &&
      aws_scheduler_schedule.this["verify"].group_name == "totes-test" &&
      alltrue([for target in aws_scheduler_schedule.this["verify"].target :
        target.arn == aws_ecs_cluster.this.arn &&
        jsondecode(target.input) == { containerOverrides = [{ name = "totes", command = ["verify"] }] } &&
        target.ecs_parameters[0].task_definition_arn == aws_ecs_task_definition.this["task"].arn &&
        target.ecs_parameters[0].launch_type == "FARGATE" &&
        target.ecs_parameters[0].network_configuration[0].subnets == toset(var.network.subnets) &&
        target.ecs_parameters[0].network_configuration[0].security_groups == toset(["sg-task"]) &&
        !target.ecs_parameters[0].network_configuration[0].assign_public_ip
      ])
    )
    error_message = "The schedule must run verify in the private network."
  }

  assert {
    condition = jsondecode(aws_iam_role_policy.scheduler[0].policy).Statement == [
      {
        Sid       = "RunTask"
        Effect    = "Allow"
        Action    = ["ecs:RunTask"]
        Resource  = ["arn:aws:ecs:eu-west-2:111122223333:task-definition/mock:*"]
        Condition = { ArnEquals = { "ecs:cluster" = aws_ecs_cluster.this.arn } }
      },
      {
        Sid       = "PassRoles"
        Effect    = "Allow"
        Action    = ["iam:PassRole"]
        Resource  = [aws_iam_role.task.arn, aws_iam_role.execution.arn]
        Condition = { StringEquals = { "iam:PassedToService" = "ecs-tasks.amazonaws.com" } }
      },
    ]
    error_message = "The scheduler must start this task definition only, and pass its two roles."
  }
}

run "without_verify_and_rds" {
  command = plan

  module {
    source = "./modules/task"
  }

  variables {
    image_tag = null
    enabled   = true
  }

  assert {
    condition     = keys(aws_ecs_task_definition.this) == ["task"] && length(aws_iam_role.create) + length(aws_scheduler_schedule.this) + length(aws_iam_role.scheduler) == 0
    error_message = "Without RDS there must be no task with its master's secret, and without verify_cron no schedule."
  }

  assert {
    condition     = endswith(output.image, ":none")
    error_message = "Without a tag, tasks must name an image that can't exist by mistake."
  }
}

run "publishing" {
  command = plan

  module {
    source = "./modules/task"
  }

  variables {
    publish_cron = "20 * * * ? *"
    enabled      = true
  }

  assert {
    condition = { for name, made in aws_scheduler_schedule.this : name => "${made.schedule_expression} ${join(" ", jsondecode(made.target[0].input).containerOverrides[0].command)}" } == {
      publish         = "cron(20 * * * ? *) publish"
      publish-compact = "cron(40 1 ? * SUN *) publish compact"
      publish-expire  = "cron(40 2 ? * SUN *) publish expire --older-than 30d"
    }
    error_message = "Iceberg tables must be published, compacted and relieved of old snapshots."
  }
}

run "paused" {
  command = plan

  module {
    source = "./modules/task"
  }

  variables {
    verify_cron = "30 4 * * ? *"
    enabled     = false
  }

  assert {
    condition     = aws_scheduler_schedule.this["verify"].state == "DISABLED"
    error_message = "A paused flow must not be loaded by the nightly verify."
  }
}
