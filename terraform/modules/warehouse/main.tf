# The warehouse: PostgreSQL on RDS, reachable only from inside the network and with TLS. A task creates
# its roles and the database (`make create-warehouse`). RDS generates and stores the master password, which
# Terraform does not read.

data "aws_partition" "current" {}

resource "aws_db_subnet_group" "this" {
  name       = var.name
  subnet_ids = var.subnets
}

resource "aws_db_parameter_group" "this" {
  name        = "${var.name}-postgres${var.major_version}"
  description = "The warehouse of ${var.name}"
  family      = "postgres${var.major_version}"

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  parameter {
    name  = "log_connections"
    value = "1"
  }

  parameter {
    name  = "log_disconnections"
    value = "1"
  }

  parameter {
    name  = "log_statement"
    value = "ddl"
  }

  parameter {
    name  = "log_min_duration_statement" # milliseconds; the statements contain no values of rows
    value = "10000"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_cloudwatch_log_group" "this" {
  for_each = toset(["postgresql", "upgrade"])

  name              = "/aws/rds/instance/${var.name}/${each.key}"
  retention_in_days = var.log_days
  kms_key_id        = var.keys.signals
}

resource "aws_db_instance" "this" {
  #checkov:skip=CKV_AWS_157:a variable sets a second zone (prod has it); the warehouse can be rebuilt from the lake
  #checkov:skip=CKV_AWS_293:a variable sets it, as dev must be deletable; prod has it
  identifier = var.name

  engine                      = "postgres"
  engine_version              = var.major_version
  auto_minor_version_upgrade  = true
  allow_major_version_upgrade = var.allow_major_version_upgrade
  apply_immediately           = var.apply_immediately
  parameter_group_name        = aws_db_parameter_group.this.name

  instance_class        = var.instance_class
  multi_az              = var.multi_az
  storage_type          = "gp3"
  allocated_storage     = var.storage_gb
  max_allocated_storage = var.max_storage_gb
  storage_encrypted     = true
  kms_key_id            = var.keys.data

  username                            = "postgres"
  manage_master_user_password         = true
  master_user_secret_kms_key_id       = var.keys.secrets
  iam_database_authentication_enabled = true

  db_subnet_group_name   = aws_db_subnet_group.this.name
  vpc_security_group_ids = [var.security_group]
  publicly_accessible    = false
  ca_cert_identifier     = "rds-ca-rsa2048-g1"

  backup_retention_period   = var.backup_days
  backup_window             = "02:00-02:30"
  maintenance_window        = "sun:03:00-sun:03:30"
  copy_tags_to_snapshot     = true
  deletion_protection       = var.deletion_protection
  skip_final_snapshot       = !var.final_snapshot
  final_snapshot_identifier = "${var.name}-final"
  delete_automated_backups  = !var.final_snapshot

  # Database Insights; in its standard mode the API has kept the names of Performance Insights, and 7 days.
  database_insights_mode                = "standard"
  enabled_cloudwatch_logs_exports       = ["postgresql", "upgrade"]
  performance_insights_enabled          = true
  performance_insights_kms_key_id       = var.keys.data
  performance_insights_retention_period = 7
  monitoring_interval                   = 60
  monitoring_role_arn                   = aws_iam_role.monitoring.arn

  depends_on = [aws_cloudwatch_log_group.this] # else RDS creates it, without expiry and encryption
}

resource "aws_iam_role" "monitoring" {
  name                 = "${var.name}-monitoring"
  description          = "Allows RDS to send the metrics of its instance."
  permissions_boundary = var.boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "monitoring.rds.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "monitoring" {
  role       = aws_iam_role.monitoring.name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
}

# -- Alarms, from which module watch composes mails

locals {
  gibibyte = 1024 * 1024 * 1024

  alarms = {
    storage = {
      # RDS itself adds storage when a tenth is free for five minutes; half an hour is when it does not.
      text       = "Less than a tenth of the initial storage was free for half an hour."
      metric     = "FreeStorageSpace"
      statistic  = "Minimum"
      comparison = "LessThanThreshold"
      threshold  = 0.1 * var.storage_gb * local.gibibyte
    }
    cpu = {
      text       = "CPU utilization was above 80 % for half an hour."
      metric     = "CPUUtilization"
      statistic  = "Average"
      comparison = "GreaterThanThreshold"
      threshold  = 80
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-warehouse-${each.key}"
  alarm_description   = each.value.text
  namespace           = "AWS/RDS"
  metric_name         = each.value.metric
  dimensions          = { DBInstanceIdentifier = aws_db_instance.this.identifier }
  statistic           = each.value.statistic
  period              = 600
  evaluation_periods  = 3
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  treat_missing_data  = "ignore" # an instance that is down sends no metrics; load finds it unavailable

  lifecycle {
    create_before_destroy = true # CloudWatch deletes no alarm that a composite one still names
  }
}
