resource "aws_cloudwatch_event_target" "stage" {
  # moto delivers to a rule's targets in the order of their creation, and stops at a function.
  rule = aws_cloudwatch_event_target.received[each.key].rule
}

resource "aws_sqs_queue_policy" "undelivered" {
  # The provider waits 25 seconds after each change of a policy, which moto would not evaluate;
  # terraform/tests check it.
  count = 0
}
