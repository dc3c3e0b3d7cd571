# Invalid variables are rejected before anything is created.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

variables {
  environment = "test"
  alarm_email = "who@example.com"
  bundle      = "./versions.tf" # any file
}

run "each_variable" {
  command = plan

  variables {
    environment             = "Prod_1"
    alarm_email             = "nobody"
    bundle                  = "./no-such.zip"
    ingest_every_minutes    = 0
    transform_every_minutes = 2.5
    load_every_minutes      = 6
    reserved_concurrency    = 0
    log_days                = 8
    secret_recovery_days    = 3
    network_cidr            = "10.0.0.0/8"
    zones                   = 1
    source_access           = "carrier-pigeon"
    source_port             = 0
    capture                 = "guess"
    log_slot                = "To-tes"
    log_alarm_mb            = 1
    warehouse_clients       = ["0.0.0.0/0"]
    warehouse_version       = "14"
    warehouse_storage_gb    = 10
    warehouse_backup_days   = 0
    infrequent_after_days   = 7
    monthly_budget_usd      = 0
    object_lock             = { mode = "FOREVER", days = 0 }
    functions               = { load = { memory_mb = 128 } }
    image_tag               = "latest image"
    task                    = { cpu = 2048, memory_mb = 2048 }
    verify_cron             = "rate(1 day)"
  }

  expect_failures = [
    var.capture,
    var.log_slot,
    var.log_alarm_mb,
    var.environment,
    var.alarm_email,
    var.bundle,
    var.ingest_every_minutes,
    var.transform_every_minutes,
    var.load_every_minutes,
    var.reserved_concurrency,
    var.log_days,
    var.secret_recovery_days,
    var.network_cidr,
    var.zones,
    var.source_access,
    var.source_port,
    var.warehouse_clients,
    var.warehouse_version,
    var.warehouse_storage_gb,
    var.warehouse_backup_days,
    var.infrequent_after_days,
    var.monthly_budget_usd,
    var.object_lock,
    var.functions,
    var.image_tag,
    var.task,
    var.verify_cron,
  ]
}

run "combinations" {
  command = plan

  variables {
    source_instance          = { identifier = "totesys", major_version = "16", retain_mb = 900 }
    source_access            = "peering"
    source_address           = "0.0.0.0/0"
    endpoint_zones           = 3
    warehouse_max_storage_gb = 20
    archive_after_days       = 61
    task                     = { scratch_gb = 20 }

    warehouse_allow_major_version_upgrade = true
    dashboard = {
      domain          = "https://totes.example"
      certificate_arn = "arn:aws:acm:us-east-1:111122223333:certificate/one"
      clients         = ["office"]
      sign_in         = {}
      settings        = { TOTES_DASHBOARD_DSN = "postgresql://" }
      tasks           = 0
    }
  }

  expect_failures = [
    var.source_instance,
    var.source_address,
    var.source_vpc,
    var.endpoint_zones,
    var.warehouse_max_storage_gb,
    var.warehouse_allow_major_version_upgrade,
    var.archive_after_days,
    var.dashboard,
    var.task,
  ]
}

run "peering_with_a_network_within_ours" {
  command = plan

  variables {
    source_access  = "peering"
    source_address = "10.84.3.0/24"
    source_vpc     = { id = "vpc-1", cidr = "10.84.3.0/24" }
  }

  expect_failures = [var.source_vpc]
}

run "peering_with_a_network_around_ours" {
  command = plan

  variables {
    source_access  = "peering"
    source_address = "10.1.2.0/24"
    source_vpc     = { id = "vpc-1", cidr = "10.0.0.0/8" }
  }

  expect_failures = [var.source_vpc]
}

run "spark_without_iceberg" {
  command = plan

  variables {
    spark_enabled = true
    spark_package = "./versions.tf" # any file
  }

  expect_failures = [var.spark_enabled]
}

run "dashboard_without_tasks" {
  command = plan

  variables {
    task_enabled = false
    image_tag    = "0123abc"
    dashboard = {
      domain          = "totes.example"
      certificate_arn = "arn:aws:acm:eu-west-2:111122223333:certificate/one"
      sign_in         = { cognito = { user_pool_arn = "pool", client_id = "client", domain = "totes" } }
    }
  }

  expect_failures = [var.dashboard]
}

run "dashboard_without_image" {
  command = plan

  variables {
    dashboard = {
      domain          = "totes.example"
      certificate_arn = "arn:aws:acm:eu-west-2:111122223333:certificate/one"
      sign_in         = { cognito = { user_pool_arn = "pool", client_id = "client", domain = "totes" } }
    }
  }

  expect_failures = [var.dashboard]
}

run "nat_without_source_address" {
  command = plan

  variables {
    source_access = "nat"
  }

  expect_failures = [var.source_address]
}
