# The permissions in lake, secrets, topic and keys that a program of the pipeline needs, as statements for
# the policy of its role: a stage's function, and the task that does the work of all stages.

locals {
  statements = concat(
    [
      {
        Sid      = "ListObjects" # without it, S3 reports a missing object as forbidden
        Effect   = "Allow"
        Action   = ["s3:ListBucket"]
        Resource = var.listable_buckets
      },
      {
        Sid      = "ReadObjects"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = var.readable_objects
      },
      {
        Sid      = "PublishAlerts"
        Effect   = "Allow"
        Action   = ["sns:Publish"]
        Resource = [var.alert_topic]
      },
      {
        Sid      = "UseKeys"
        Effect   = "Allow"
        Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource = [var.keys.data, var.keys.signals]
      },
      {
        Sid      = "DecryptSecrets" # of logins, and of a function's environment variables
        Effect   = "Allow"
        Action   = ["kms:Decrypt"]
        Resource = [var.keys.secrets]
      },
    ],
    length(var.creatable_objects) > 0 ? [{
      Sid      = "CreateObjects"
      Effect   = "Allow"
      Action   = ["s3:PutObject", "s3:AbortMultipartUpload"]
      Resource = var.creatable_objects
    }] : [],
    length(var.secrets) > 0 ? [{
      Sid      = "ReadLogins"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = var.secrets
    }] : [],
  )
}
