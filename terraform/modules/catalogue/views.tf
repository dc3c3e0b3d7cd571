# The views for queries. Athena stores a view as a table of the catalogue whose text is Presto's format.

locals {
  # The catalogue uses Hive's types, Presto's format Trino's.
  trino = {
    string    = "varchar"
    int       = "integer"
    timestamp = "timestamp(3)"
  }

  ingestion_views = merge(
    {
      files = {
        about = "The files of the batches."
        sql   = templatefile("${path.module}/views/ingestion_files.sql", { bucket = var.ingestion_bucket })
        columns = [
          { name = "batch", type = "bigint" },
          { name = "captured_at", type = "string" },
          { name = "path", type = "string" },
        ]
      }
    },
    {
      for table, described in local.source_tables : table => {
        about = "All versions of the rows of ${table}."
        sql = templatefile("${path.module}/views/ingestion_table.sql", {
          table   = table
          columns = join(", ", [for name in concat(["_op", "_xid", "_at", "_seq"], described.columns) : "rows_.\"${name}\""])
        })
        columns = concat(
          [{ name = "batch", type = "bigint" }, { name = "captured_at", type = "string" }],
          local.ingestion_raw["${table}_raw"].columns,
          local.days,
        )
      }
    },
  )

  processed_views = merge(
    { for name, view in {
      current_generation = {
        about   = "The current generation."
        sql     = templatefile("${path.module}/views/current_generation.sql", { generations = var.generations })
        columns = local.generation
      }
      files = {
        about = "The files of the current generation's batches."
        sql   = templatefile("${path.module}/views/processed_files.sql", { bucket = var.processed_bucket })
        columns = concat(local.generation, [
          { name = "batch", type = "bigint" },
          { name = "path", type = "string" },
        ])
      }
    } : name => view if var.iceberg == null },
    {
      for table, described in local.processed_tables : table => {
        about = "All versions of the rows of ${table} in the current generation."
        sql = templatefile("${path.module}/views/processed_table.sql", {
          table   = table
          columns = join(", ", [for column in local.processed_raw["${table}_raw"].columns : "rows_.\"${column.name}\""])
        })
        columns = concat(
          [{ name = "batch", type = "bigint" }],
          local.processed_raw["${table}_raw"].columns,
          local.days,
        )
      }
    },
  )

  views = merge(
    { for name, view in local.ingestion_views : "ingestion.${name}" => merge(view, { name = name, database = aws_glue_catalog_database.ingestion.name }) },
    { for name, view in local.processed_views : "processed.${name}" => merge(view, { name = name, database = one(aws_glue_catalog_database.processed[*].name) }) },
  )
}

resource "aws_glue_catalog_table" "view" {
  for_each = local.views

  database_name = each.value.database
  name          = each.value.name
  description   = each.value.about
  table_type    = "VIRTUAL_VIEW"

  parameters = {
    comment     = "Presto View"
    presto_view = "true"
  }

  view_expanded_text = "/* Presto View */"
  view_original_text = "/* Presto View: ${base64encode(jsonencode({
    originalSql = each.value.sql
    catalog     = "awsdatacatalog"
    schema      = each.value.database
    columns = [
      for column in each.value.columns : { name = column.name, type = lookup(local.trino, column.type, column.type) }
    ]
  }))} */"

  storage_descriptor {
    dynamic "columns" {
      for_each = each.value.columns
      content {
        name = columns.value.name
        type = columns.value.type
      }
    }
  }

  depends_on = [aws_glue_catalog_table.raw]
}
