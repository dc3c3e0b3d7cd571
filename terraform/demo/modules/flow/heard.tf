# moto calls no function. What EventBridge delivers goes to a queue, too, where the demonstration reads
# it and does the calling.

resource "aws_sqs_queue" "heard" {
  for_each = local.landings

  name              = "${var.name}-heard-${each.key}"
  kms_master_key_id = var.key
}

resource "aws_cloudwatch_event_target" "heard" {
  for_each = local.landings

  rule      = aws_cloudwatch_event_rule.landed[each.key].name
  target_id = "heard"
  arn       = aws_sqs_queue.heard[each.key].arn
}
