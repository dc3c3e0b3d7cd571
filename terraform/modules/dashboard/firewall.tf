# The firewall for requests, before the sign-in: what AWS knows as attacks, and floods from one address.

locals {
  managed = {
    AWSManagedRulesCommonRuleSet = {
      priority = 1
      # A link to a view has up to 6,000 characters of SQL, and the cookies of a sign-in up to 16 KB.
      counted = ["SizeRestrictions_Cookie_HEADER", "SizeRestrictions_QUERYSTRING"]
    }
    AWSManagedRulesKnownBadInputsRuleSet = {
      priority = 2
      counted  = []
    }
  }
}

resource "aws_wafv2_web_acl" "this" {
  #checkov:skip=CKV_AWS_192:AWSManagedRulesKnownBadInputsRuleSet is there; checkov does not read dynamic blocks
  name        = var.name
  description = "Requests to the dashboard."
  scope       = "REGIONAL"

  default_action {
    allow {}
  }

  rule {
    name     = "limit-of-an-address"
    priority = 0

    action {
      block {}
    }

    statement {
      rate_based_statement {
        aggregate_key_type = "IP"
        limit              = 5000 # in five minutes: all users of an office may have one address
      }
    }

    visibility_config {
      metric_name                = "${var.name}-limit-of-an-address"
      cloudwatch_metrics_enabled = true
      sampled_requests_enabled   = true
    }
  }

  dynamic "rule" {
    for_each = local.managed

    content {
      name     = rule.key
      priority = rule.value.priority

      override_action {
        none {}
      }

      statement {
        managed_rule_group_statement {
          vendor_name = "AWS"
          name        = rule.key

          dynamic "rule_action_override" {
            for_each = rule.value.counted

            content {
              name = rule_action_override.value

              action_to_use {
                count {}
              }
            }
          }
        }
      }

      visibility_config {
        metric_name                = "${var.name}-${rule.key}"
        cloudwatch_metrics_enabled = true
        sampled_requests_enabled   = true
      }
    }
  }

  visibility_config {
    metric_name                = var.name
    cloudwatch_metrics_enabled = true
    sampled_requests_enabled   = true
  }
}

resource "aws_wafv2_web_acl_association" "this" {
  resource_arn = aws_lb.this.arn
  web_acl_arn  = aws_wafv2_web_acl.this.arn
}

resource "aws_cloudwatch_log_group" "firewall" {
  name              = "aws-waf-logs-${var.name}" # WAF requires this prefix
  retention_in_days = var.log_days
  kms_key_id        = var.keys.signals
}

# Blocked and counted requests; the access logs have all.
resource "aws_wafv2_web_acl_logging_configuration" "this" {
  resource_arn            = aws_wafv2_web_acl.this.arn
  log_destination_configs = [aws_cloudwatch_log_group.firewall.arn]

  redacted_fields {
    single_header {
      name = "cookie" # it is the session of a user who has signed in
    }
  }

  logging_filter {
    default_behavior = "DROP"

    filter {
      behavior    = "KEEP"
      requirement = "MEETS_ANY"

      dynamic "condition" {
        for_each = ["BLOCK", "COUNT", "EXCLUDED_AS_COUNT"]

        content {
          action_condition {
            action = condition.value
          }
        }
      }
    }
  }
}
