# For a totesys on RDS whose write-ahead log ingest reads: a parameter group, which the owner of the
# instance attaches to it before a reboot, and an alarm on the log that a replication slot retains. Other
# parameters keep their defaults: an instance with a group of its own gets the two parameters there.

resource "aws_db_parameter_group" "this" {
  name        = "${var.name}-source-postgres${var.instance.major_version}"
  description = "Logical decoding of the totesys of ${var.name}"
  family      = "postgres${var.instance.major_version}"

  parameter {
    name         = "rds.logical_replication"
    value        = "1"
    apply_method = "pending-reboot"
  }

  parameter {
    name  = "max_slot_wal_keep_size" # MB; a slot that no process reads must not fill the disk
    value = tostring(var.instance.retain_mb)
  }

  lifecycle {
    create_before_destroy = true
  }
}

locals {
  alarms = {
    retained-log = {
      text      = "A replication slot of totesys retained much of its write-ahead log for half an hour."
      metric    = "OldestReplicationSlotLag" # bytes
      threshold = var.alarm_mb * 1000 * 1000
    }
  }
}

# Module watch composes a mail from it.
resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${var.name}-source-${each.key}"
  alarm_description   = each.value.text
  namespace           = "AWS/RDS"
  metric_name         = each.value.metric
  dimensions          = { DBInstanceIdentifier = var.instance.identifier }
  statistic           = "Maximum"
  period              = 600
  evaluation_periods  = 3 # so that an ingest that fails has sent its mail before
  comparison_operator = "GreaterThanThreshold"
  threshold           = each.value.threshold
  treat_missing_data  = "notBreaching" # without a slot there is no metric

  lifecycle {
    create_before_destroy = true # CloudWatch deletes no alarm that a composite one still names
  }
}
