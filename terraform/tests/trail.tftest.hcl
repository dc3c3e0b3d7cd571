# The trail of who read and wrote the lake's objects, and who may write its files.

mock_provider "aws" {
  source          = "./tests/mocks"
  override_during = plan
}

run "trail" {
  command = plan

  module {
    source = "./modules/trail"
  }

  variables {
    name          = "totes-test"
    buckets       = ["arn:aws:s3:::ingestion", "arn:aws:s3:::processed"]
    key           = "arn:aws:kms:eu-west-2:111122223333:key/signals"
    access_logs   = "logs"
    log_days      = 30
    force_destroy = false
  }

  assert {
    condition = { for selected in aws_cloudtrail.this.advanced_event_selector[0].field_selector : selected.field => join(" ", coalescelist(selected.equals, selected.starts_with)) } == {
      "eventCategory"  = "Data"
      "resources.type" = "AWS::S3::Object"
      "resources.ARN"  = "arn:aws:s3:::ingestion/ arn:aws:s3:::processed/"
    }
    error_message = "The trail must have the events of all objects in these buckets, and of no bucket whose name begins with theirs."
  }

  assert {
    condition     = aws_cloudtrail.this.enable_log_file_validation && aws_cloudtrail.this.kms_key_id == var.key
    error_message = "The trail's files must be encrypted, and changes of them must be noticed."
  }

  assert {
    condition = { for statement in output.policy : statement.Sid => try(statement.Condition.StringEquals["aws:SourceArn"], "") if statement.Effect == "Allow" } == {
      AllowTrailToFindOwner = "arn:aws:cloudtrail:eu-west-2:111122223333:trail/totes-test"
      AllowTrailToWrite     = "arn:aws:cloudtrail:eu-west-2:111122223333:trail/totes-test"
    }
    error_message = "Only this trail must write into its bucket."
  }

  assert {
    condition     = [for statement in output.policy : statement.Resource if statement.Sid == "AllowTrailToFindOwner"] == ["arn:aws:s3:::totes-test-trail-111122223333-eu-west-2"]
    error_message = "The owner is a property of the bucket, not of its objects."
  }
}

run "key" {
  command = plan

  module {
    source = "./modules/encryption"
  }

  variables {
    name = "totes-test"
  }

  assert {
    condition = [for statement in jsondecode(aws_kms_key.this["signals"].policy).Statement : statement.Condition if statement.Sid == "AllowTrail"] == [
      { StringEquals = { "aws:SourceArn" = "arn:aws:cloudtrail:eu-west-2:111122223333:trail/totes-test" } }
    ]
    error_message = "The key must allow exactly the trail of this name."
  }
}
