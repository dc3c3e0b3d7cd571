# moto calls no function. EventBridge also delivers to these queues, where the tests read the events
# and call the functions.

resource "aws_sqs_queue" "received" {
  for_each = local.landings

  name = "${var.name}-received-${each.key}"
}

resource "aws_cloudwatch_event_target" "received" {
  for_each = local.landings

  rule      = aws_cloudwatch_event_rule.landed[each.key].name
  target_id = "received"
  arn       = aws_sqs_queue.received[each.key].arn
}
