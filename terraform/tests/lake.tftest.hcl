# Settings of all buckets, and the policies of the two stores.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

mock_provider "aws" {
  alias  = "applied"
  source = "./tests/mocks"
}

run "a_bucket" {
  command = plan

  module {
    source = "./modules/bucket"
  }

  variables {
    name            = "totes-test-store"
    key             = "arn:aws:kms:eu-west-2:111122223333:key/data"
    events          = true
    log_to          = { bucket = "totes-test-logs", prefix = "store/" }
    cheaper_storage = { infrequent_after_days = 60, archive_after_days = 180 }
    noncurrent_days = 90
    object_lock     = { mode = "GOVERNANCE", days = 30 }
    force_destroy   = false
  }

  assert {
    condition     = [for lock in aws_s3_bucket_object_lock_configuration.this[0].rule[0].default_retention : "${lock.mode} ${lock.days}"] == ["GOVERNANCE 30"]
    error_message = "Objects must be locked."
  }

  assert {
    condition     = aws_s3_bucket_versioning.this.versioning_configuration[0].status == "Enabled"
    error_message = "The bucket must be versioned."
  }

  assert {
    condition = alltrue([for rule in aws_s3_bucket_server_side_encryption_configuration.this.rule :
      rule.bucket_key_enabled &&
      rule.apply_server_side_encryption_by_default[0].sse_algorithm == "aws:kms" &&
      rule.apply_server_side_encryption_by_default[0].kms_master_key_id == var.key
    ])
    error_message = "Objects must be encrypted with our key through a bucket key."
  }

  assert {
    condition = alltrue([
      aws_s3_bucket_public_access_block.this.block_public_acls,
      aws_s3_bucket_public_access_block.this.block_public_policy,
      aws_s3_bucket_public_access_block.this.ignore_public_acls,
      aws_s3_bucket_public_access_block.this.restrict_public_buckets,
    ])
    error_message = "All public access must be blocked."
  }

  assert {
    condition     = aws_s3_bucket_ownership_controls.this.rule[0].object_ownership == "BucketOwnerEnforced"
    error_message = "There must be no access control lists."
  }

  assert {
    condition     = aws_s3_bucket_notification.this[0].eventbridge
    error_message = "EventBridge must get events for new objects."
  }

  assert {
    condition     = aws_s3_bucket_logging.this[0].target_bucket == "totes-test-logs"
    error_message = "Access must be logged."
  }

  assert {
    condition = { for rule in aws_s3_bucket_lifecycle_configuration.this.rule : rule.filter[0].object_size_greater_than => toset([
      for transition in rule.transition : "${transition.days} ${transition.storage_class}"
    ]) if length(rule.transition) > 0 } == { 131072 = toset(["60 STANDARD_IA", "180 GLACIER_IR"]) }
    error_message = "Data must move to cheaper storage, but no object as small as a manifest."
  }

  assert {
    condition = anytrue([for rule in aws_s3_bucket_lifecycle_configuration.this.rule :
      rule.status == "Enabled" &&
      try(rule.noncurrent_version_expiration[0].noncurrent_days, 0) == 90 &&
      try(rule.abort_incomplete_multipart_upload[0].days_after_initiation, 0) == 2 &&
      length(rule.expiration) == 0
    ])
    error_message = "Old versions and incomplete uploads must expire, and nothing else."
  }

  assert {
    condition = anytrue([for statement in output.policy :
      statement.Sid == "TlsOnly" && statement.Effect == "Deny" && statement.Principal == "*" && statement.Action == "s3:*" &&
      statement.Condition.Bool["aws:SecureTransport"] == "false" && length(statement.Resource) == 2
    ])
    error_message = "All requests without TLS must be denied."
  }
}

run "the_stores" {
  command = plan

  module {
    source = "./modules/lake"
  }

  variables {
    name = "totes-test"
    key  = "arn:aws:kms:eu-west-2:111122223333:key/data"
    stage_roles = {
      ingest    = "arn:aws:iam::111122223333:role/ingest"
      transform = "arn:aws:iam::111122223333:role/transform"
      load      = "arn:aws:iam::111122223333:role/load"
    }
  }

  assert {
    condition     = sort(keys(output.policies)) == tolist(["ingestion", "processed"])
    error_message = "There must be two stores."
  }

  assert {
    condition = alltrue([for statements in values(output.policies) : anytrue([for statement in statements :
      statement.Effect == "Deny" && !can(statement.Condition) &&
      toset(flatten([statement.Action])) == toset(["s3:DeleteObject", "s3:DeleteObjectVersion"]) &&
      toset(try(statement.Principal.AWS, [])) == toset(values(var.stage_roles))
    ])])
    error_message = "Deletes by stages must be denied without condition."
  }

  assert {
    condition = alltrue([for statements in values(output.policies) : anytrue([for statement in statements :
      statement.Effect == "Deny" && try(statement.Principal == "*", false) &&
      toset(flatten([statement.Action])) == toset(["s3:DeleteObject", "s3:DeleteObjectVersion"]) &&
      keys(try(statement.Condition, {})) == ["ArnNotEquals"] &&
      try(statement.Condition.ArnNotEquals["aws:PrincipalArn"], []) == [output.removal_role]
    ])])
    error_message = "Only the removal role must be allowed to delete."
  }

  assert {
    condition = alltrue([for statements in values(output.policies) : anytrue([for statement in statements :
      statement.Effect == "Deny" && try(statement.Principal == "*", false) && try(statement.Action == "s3:PutObject", false) &&
      try(statement.Condition.Null["s3:if-none-match"], "") == "true" &&
      try(statement.Condition.Bool["s3:ObjectCreationOperation"], "") == "true" &&
      try(statement.Condition.ArnNotEquals["aws:PrincipalArn"], []) == [output.removal_role]
    ])])
    error_message = "Replacing an object must be denied."
  }

  assert {
    condition     = alltrue([for statements in values(output.policies) : alltrue([for statement in statements : statement.Effect == "Deny"])])
    error_message = "The stores' policies must contain denials only; roles grant access."
  }

  assert {
    condition     = alltrue([for store in module.store : !store.locked])
    error_message = "Without object_lock, nothing must be locked."
  }

  assert {
    condition     = jsondecode(aws_iam_role.removal.assume_role_policy).Statement[0].Condition.Bool["aws:MultiFactorAuthPresent"] == "true"
    error_message = "The removal role must require a second factor."
  }
}

run "locked_stores" {
  command = apply # the stores have ARNs only then

  providers = {
    aws = aws.applied
  }

  module {
    source = "./modules/lake"
  }

  variables {
    name        = "totes-test"
    key         = "arn:aws:kms:eu-west-2:111122223333:key/data"
    stage_roles = { ingest = "arn:aws:iam::111122223333:role/ingest" }
    object_lock = { mode = "GOVERNANCE", days = 30 }
  }

  assert {
    condition     = alltrue([for store in module.store : store.locked]) && !module.artefacts.locked && !module.logs.locked
    error_message = "Exactly the two stores must be locked: S3 can't write access logs to a locked bucket."
  }

  assert {
    condition = anytrue([for statement in jsondecode(aws_iam_role_policy.removal.policy).Statement :
      contains(statement.Action, "s3:BypassGovernanceRetention") && statement.Resource == [for store in values(module.store) : "${store.arn}/*"]
    ])
    error_message = "The removal role must be able to delete locked versions."
  }
}

run "the_stores_for_moto" {
  command = plan

  module {
    source = "./modules/lake"
  }

  variables {
    name        = "totes-test"
    key         = "arn:aws:kms:eu-west-2:111122223333:key/data"
    stage_roles = { ingest = "arn:aws:iam::111122223333:role/ingest" }
    conditions  = false
  }

  assert {
    condition     = alltrue([for statements in values(output.policies) : [for statement in statements : statement.Sid] == ["DenyDeletesByStages"]])
    error_message = "Without conditions, only statements that have none must remain."
  }
}
