# Secrets for logins. A person sets that of totesys (docs/operations.md), and a task those of the warehouse
# (`make create-warehouse`). Terraform does not read them, as its state would contain them.

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:a person rotates logins (docs/operations.md), as the platform may not change totesys
  for_each = var.secrets

  name                    = "${var.name}/${each.key}"
  description             = each.value
  kms_key_id              = var.key
  recovery_window_in_days = var.recovery_window_days
}
