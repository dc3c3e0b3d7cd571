resource "aws_cloudwatch_event_target" "stage" {
  # moto delivers to a rule's targets in the order of their creation, and stops at a function.
  rule = aws_cloudwatch_event_target.received[each.key].rule
}
