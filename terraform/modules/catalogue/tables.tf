# The tables of the files in S3, including orphaned files of killed attempts. Their names end with _raw;
# the views on them include only files that a manifest names.

locals {
  prefix        = "totes_${replace(var.environment, "-", "_")}"
  source_tables = jsondecode(file("${path.module}/source_tables.json"))
  star_tables   = jsondecode(file("${path.module}/star_tables.json")) # make star

  ion = { # the only format for JSON that spans lines, such as manifests
    input   = "com.amazon.ionhiveserde.formats.IonInputFormat"
    output  = "com.amazon.ionhiveserde.formats.IonOutputFormat"
    library = "com.amazon.ionhiveserde.IonHiveSerDe"
  }
  json = {
    input   = "org.apache.hadoop.mapred.TextInputFormat"
    output  = "org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat"
    library = "org.openx.data.jsonserde.JsonSerDe"
  }
  parquet = {
    input   = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetInputFormat"
    output  = "org.apache.hadoop.hive.ql.io.parquet.MapredParquetOutputFormat"
    library = "org.apache.hadoop.hive.ql.io.parquet.serde.ParquetHiveSerDe"
  }

  days   = [{ name = "totes_date", type = "string" }]
  of_day = "totes_date=$${totes_date}/"
  day_projection = {
    "projection.enabled"                  = "true"
    "projection.totes_date.type"          = "date"
    "projection.totes_date.format"        = "yyyy-MM-dd"
    "projection.totes_date.interval"      = "1"
    "projection.totes_date.interval.unit" = "DAYS"
    # captures have the source's clock, which may be ahead of Athena's
    "projection.totes_date.range" = "${var.first_year}-01-01,NOW+1DAYS"
  }
  generation = [{ name = "generation", type = "int" }]
  generation_projection = {
    "projection.enabled"          = "true"
    "projection.generation.type"  = "integer"
    "projection.generation.range" = "1,${var.generations}"
  }

  ingestion_raw = merge(
    {
      batches = {
        about  = "Manifests of the captured batches."
        format = local.ion
        columns = [
          { name = "batch", type = "bigint" },
          { name = "captured_at", type = "string" },
          { name = "program", type = "string" },
          { name = "tables", type = "array<struct<name:string,whole:boolean,rows:bigint,files:array<struct<path:string,rows:bigint,deletes:bigint,bytes:bigint>>>>" },
        ]
        partitions = []
        location   = "s3://${var.ingestion_bucket}/batches/"
        parameters = {}
      }
    },
    {
      for table, described in local.source_tables : "${table}_raw" => {
        about      = "JSON Lines of ${table} with orphaned files: query ${table} instead."
        format     = local.json
        columns    = [for name in concat(["_op", "_xid", "_at", "_seq"], described.columns) : { name = name, type = "string" }]
        partitions = local.days
        location   = "s3://${var.ingestion_bucket}/${table}/"
        parameters = merge(local.day_projection, {
          "storage.location.template" = "s3://${var.ingestion_bucket}/${table}/${local.of_day}"
        })
      }
    },
  )

  # With Iceberg tables, the files of the star are not queried.
  processed_tables = { for name, table in local.star_tables : name => table if var.iceberg == null }

  processed_raw = merge(
    { for name, table in {
      generations = {
        about      = "Pointers of replays: the newest shows the current generation."
        format     = local.ion
        columns    = [{ name = "generation", type = "int" }]
        partitions = []
        location   = "s3://${var.processed_bucket}/generations/"
        parameters = {}
      }
      batches = {
        about  = "Manifests of the processed batches of all generations."
        format = local.ion
        columns = [
          { name = "batch", type = "bigint" },
          { name = "captured_at", type = "string" },
          { name = "program", type = "string" },
          { name = "files", type = "array<struct<path:string,rows:bigint,deletes:bigint,bytes:bigint,table:string>>" },
        ]
        partitions = local.generation
        location   = "s3://${var.processed_bucket}/"
        parameters = merge(local.generation_projection, {
          "storage.location.template" = "s3://${var.processed_bucket}/generation=$${generation}/batches/"
        })
      }
    } : name => table if var.iceberg == null },
    {
      for table, described in local.processed_tables : "${table}_raw" => {
        about  = "Parquet of ${table} with orphaned files and all generations: query ${table} instead."
        format = local.parquet
        columns = concat(described.columns, [
          { name = "valid_from", type = "timestamp" },
          { name = "_op", type = "string" },
        ])
        partitions = concat(local.generation, local.days)
        location   = "s3://${var.processed_bucket}/"
        parameters = merge(local.generation_projection, local.day_projection, {
          "storage.location.template" = "s3://${var.processed_bucket}/generation=$${generation}/${table}/${local.of_day}"
        })
      }
    },
  )

  raw = merge(
    { for name, table in local.ingestion_raw : "ingestion.${name}" => merge(table, { name = name, database = aws_glue_catalog_database.ingestion.name }) },
    { for name, table in local.processed_raw : "processed.${name}" => merge(table, { name = name, database = one(aws_glue_catalog_database.processed[*].name) }) },
  )
}

resource "aws_glue_catalog_database" "ingestion" {
  name        = "${local.prefix}_ingestion"
  description = "All captured versions of all rows of totesys."
}

resource "aws_glue_catalog_database" "processed" {
  count = var.iceberg == null ? 1 : 0

  name        = "${local.prefix}_processed"
  description = "All versions of all rows of the star."
}

moved {
  from = aws_glue_catalog_database.processed
  to   = aws_glue_catalog_database.processed[0]
}

resource "aws_glue_catalog_table" "raw" {
  for_each = local.raw

  database_name = each.value.database
  name          = each.value.name
  description   = each.value.about
  table_type    = "EXTERNAL_TABLE"
  parameters    = merge({ EXTERNAL = "TRUE" }, each.value.parameters)

  storage_descriptor {
    location      = each.value.location
    input_format  = each.value.format.input
    output_format = each.value.format.output

    ser_de_info {
      serialization_library = each.value.format.library
    }

    dynamic "columns" {
      for_each = each.value.columns
      content {
        name = columns.value.name
        type = columns.value.type
      }
    }
  }

  dynamic "partition_keys" {
    for_each = each.value.partitions
    content {
      name = partition_keys.value.name
      type = partition_keys.value.type
    }
  }
}
