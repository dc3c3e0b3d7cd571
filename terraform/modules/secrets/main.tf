# Places for logins. Their values are put by a person (docs/operations.md) and never come here: what
# Terraform knows is in its state.

resource "aws_secretsmanager_secret" "this" {
  #checkov:skip=CKV2_AWS_57:a login is rotated by a person on both sides, as docs/operations.md tells; totesys is not ours to alter
  for_each = var.secrets

  name                    = "${var.name}/${each.key}"
  description             = each.value
  kms_key_id              = var.key
  recovery_window_in_days = var.recovery_window_days
}
