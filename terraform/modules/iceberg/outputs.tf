output "database" {
  description = "Name of the database of Glue."
  value       = aws_glue_catalog_database.this.name
}

output "bucket" {
  description = "Name of the bucket of the tables' files."
  value       = module.bucket.name
}

output "environment" {
  description = "Settings of the task that publishes."
  value = {
    TOTES_ICEBERG_CATALOG = "glue:${aws_glue_catalog_database.this.name}"
    TOTES_ICEBERG_URL     = "s3://${module.bucket.name}"
  }
}

output "alarms" {
  description = "Name of the alarm on tasks that fail, by the name of its mail."
  value       = { publish = aws_cloudwatch_metric_alarm.this.alarm_name }
}
