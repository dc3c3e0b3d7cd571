output "keys" {
  description = "ARN of the key for `data`, `secrets` and `signals`."
  value       = { for purpose, key in aws_kms_key.this : purpose => key.arn }
}
