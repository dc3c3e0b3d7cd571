resource "aws_lambda_function" "this" {
  lifecycle {
    ignore_changes = [logging_config] # moto does not store it
  }
}
