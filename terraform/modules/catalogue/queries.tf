# The saved queries of the workgroup. A ? is asked for in Athena's console.

locals {
  histories = ["sales_order", "purchase_order", "payment"]
  facts     = [for table in keys(local.tables.processed) : table if startswith(table, "fact_")]

  named_queries = merge(
    {
      for table, names in local.tables.ingestion : "current_${table}" => {
        about    = "Current state of ${table}, as its source has it."
        database = aws_glue_catalog_database.ingestion.name
        sql = templatefile("${path.module}/queries/ingestion_current.sql", {
          table = table, key = names[0], columns = join(", ", names)
        })
      }
    },
    {
      for table in local.histories : "history_of_one_${table}" => {
        about    = "History of one ${table}, silent changes and deletion included."
        database = aws_glue_catalog_database.ingestion.name
        sql = templatefile("${path.module}/queries/ingestion_history.sql", {
          table = table, key = local.tables.ingestion[table][0], columns = join(", ", local.tables.ingestion[table])
        })
      }
    },
    {
      for table in local.histories : "changes_of_one_day_${table}" => {
        about    = "What changed in ${table} on one day; reads that day only."
        database = aws_glue_catalog_database.ingestion.name
        sql = templatefile("${path.module}/queries/ingestion_day.sql", {
          table = table, key = local.tables.ingestion[table][0], columns = join(", ", local.tables.ingestion[table])
        })
      }
    },
    {
      for table in local.facts : "current_${table}" => {
        about    = "Current state of ${table}, in the star's types."
        database = aws_glue_catalog_database.processed.name
        sql = templatefile("${path.module}/queries/processed_current.sql", {
          table = table, key = local.tables.processed[table][0].name, columns = join(", ", local.tables.processed[table][*].name)
        })
      }
    },
    {
      for table in local.facts : "history_of_one_${table}" => {
        about    = "History of one row of ${table}, in the star's types."
        database = aws_glue_catalog_database.processed.name
        sql = templatefile("${path.module}/queries/processed_history.sql", {
          table = table, key = local.tables.processed[table][0].name, columns = join(", ", local.tables.processed[table][*].name)
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
