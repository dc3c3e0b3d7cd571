# The saved queries of the workgroup. Athena's console prompts for the value of each `?`.

locals {
  histories = ["sales_order", "purchase_order", "payment"]
  facts     = { for name, table in local.processed_tables : name => table if table.fact }

  named_queries = merge(
    {
      for table, described in local.source_tables : "current_${table}" => {
        about    = "Current rows of ${table} in the source."
        database = aws_glue_catalog_database.ingestion.name
        sql = templatefile("${path.module}/queries/ingestion_current.sql", {
          table = table, key = described.key, columns = join(", ", described.columns)
        })
      }
    },
    {
      for table in local.histories : "history_of_one_${table}" => {
        about    = "History of one row of ${table}, with its deletion."
        database = aws_glue_catalog_database.ingestion.name
        sql = templatefile("${path.module}/queries/ingestion_history.sql", {
          table = table, key = local.source_tables[table].key, columns = join(", ", local.source_tables[table].columns)
        })
      }
    },
    {
      for table in local.histories : "changes_of_one_day_${table}" => {
        about    = "Changes in ${table} on one day; reads that day only."
        database = aws_glue_catalog_database.ingestion.name
        sql = templatefile("${path.module}/queries/ingestion_day.sql", {
          table = table, key = local.source_tables[table].key, columns = join(", ", local.source_tables[table].columns)
        })
      }
    },
    {
      for table, described in local.facts : "current_${table}" => {
        about    = "Current rows of ${table}, in the star's types."
        database = one(aws_glue_catalog_database.processed[*].name)
        sql = templatefile("${path.module}/queries/processed_current.sql", {
          table = table, key = join(", ", described.key), columns = join(", ", described.columns[*].name)
        })
      }
    },
    {
      for table, described in local.facts : "history_of_one_${table}" => {
        about    = "History of one row of ${table}, in the star's types."
        database = one(aws_glue_catalog_database.processed[*].name)
        sql = templatefile("${path.module}/queries/processed_history.sql", {
          table = table, key = join(", ", described.key), columns = join(", ", described.columns[*].name)
        })
      }
    },
  )
}

resource "aws_athena_named_query" "this" {
  for_each = var.saved_queries ? local.named_queries : {}

  name        = each.key
  description = each.value.about
  workgroup   = aws_athena_workgroup.this.id
  database    = each.value.database
  query       = each.value.sql
}
