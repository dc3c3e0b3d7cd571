resource "aws_cloudwatch_event_target" "stage" {
  # moto serves a rule's targets in the order in which they were made, and gives up at a function.
  rule = aws_cloudwatch_event_target.heard[each.key].rule
}
