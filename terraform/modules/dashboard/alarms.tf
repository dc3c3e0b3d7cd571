# The alarms of the dashboard, from which module watch composes a mail.

locals {
  balancer = { LoadBalancer = aws_lb.this.arn_suffix }

  alarms = {
    unavailable = {
      text       = "No task of the dashboard was healthy."
      metric     = "HealthyHostCount"
      dimensions = merge(local.balancer, { TargetGroup = aws_lb_target_group.this.arn_suffix })
      statistic  = "Maximum"
      comparison = "LessThanThreshold"
      threshold  = 1
      missing    = "breaching" # there is no metric without a task
    }
    errors = {
      text       = "The dashboard answered requests with errors."
      metric     = "HTTPCode_Target_5XX_Count"
      dimensions = local.balancer
      statistic  = "Sum"
      comparison = "GreaterThanThreshold"
      threshold  = 10
      missing    = "notBreaching"
    }
    unanswered = {
      text       = "No task of the dashboard answered requests of the load balancer."
      metric     = "HTTPCode_ELB_5XX_Count" # 502, 503 and 504, which no task has sent
      dimensions = local.balancer
      statistic  = "Sum"
      comparison = "GreaterThanThreshold"
      threshold  = 10
      missing    = "notBreaching"
    }
    sign-in = {
      text       = "Users could not sign in: the provider did not answer, or its settings or the client secret are wrong."
      metric     = "ELBAuthError"
      dimensions = local.balancer
      statistic  = "Sum"
      comparison = "GreaterThanThreshold"
      threshold  = 5
      missing    = "notBreaching"
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each = local.alarms

  alarm_name          = "${local.name}-${each.key}"
  alarm_description   = each.value.text
  namespace           = "AWS/ApplicationELB"
  metric_name         = each.value.metric
  dimensions          = each.value.dimensions
  statistic           = each.value.statistic
  period              = 300
  evaluation_periods  = 2
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  treat_missing_data  = each.value.missing

  lifecycle {
    create_before_destroy = true # CloudWatch deletes no alarm that a composite one still names
  }
}
