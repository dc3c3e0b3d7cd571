# The dashboard: who reaches it, how users sign in, what its tasks may do. Off by default.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name                = "totes-test"
  domain              = "totes.example"
  certificate_arn     = "arn:aws:acm:eu-west-2:111122223333:certificate/one"
  clients             = ["203.0.113.0/24"]
  settings            = { TOTES_DASHBOARD_COMPANY = "Widgets" }
  tasks               = 2
  cpu                 = 512
  memory_mb           = 2048
  deletion_protection = true
  vpc                 = "vpc-1"
  subnets             = ["subnet-private"]
  public_subnets      = [{ id = "subnet-a", cidr = "10.84.15.0/24" }, { id = "subnet-b", cidr = "10.84.14.0/24" }]
  security_group      = "sg-dashboard"
  cluster             = "arn:aws:ecs:eu-west-2:111122223333:cluster/totes-test"
  image               = "111122223333.dkr.ecr.eu-west-2.amazonaws.com/totes-test:one"
  execution_role      = "arn:aws:iam::111122223333:role/totes-test-task-execution"
  log_group           = "/aws/ecs/totes-test-task"
  login_secret        = "arn:aws:secretsmanager:eu-west-2:111122223333:secret:totes-test/reader-1"
  keys = {
    data    = "arn:aws:kms:eu-west-2:111122223333:key/data"
    secrets = "arn:aws:kms:eu-west-2:111122223333:key/secrets"
    signals = "arn:aws:kms:eu-west-2:111122223333:key/signals"
  }
  access_logs = "totes-test-logs"
  log_days    = 365
  sign_in = {
    cognito = {
      user_pool_arn = "arn:aws:cognito-idp:eu-west-2:111122223333:userpool/eu-west-2_1"
      client_id     = "client"
      domain        = "totes"
    }
  }
}

run "cognito" {
  command = apply # names that AWS gives are known only then

  module {
    source = "./modules/dashboard"
  }

  assert {
    condition     = [for action in aws_lb_listener.https.default_action : action.type] == ["authenticate-cognito", "forward"]
    error_message = "Users must sign in before a request is forwarded."
  }

  assert {
    condition = alltrue([for signed in aws_lb_listener.https.default_action[0].authenticate_cognito :
      signed.user_pool_arn == var.sign_in.cognito.user_pool_arn && signed.user_pool_client_id == "client" && signed.user_pool_domain == "totes" && signed.session_timeout == 86400
    ])
    error_message = "Users must sign in at the pool, for a day."
  }

  assert {
    condition = (
      aws_lb_listener.https.protocol == "HTTPS" && aws_lb_listener.https.ssl_policy == "ELBSecurityPolicy-TLS13-1-2-2021-06" &&
      aws_lb_listener.https.certificate_arn == var.certificate_arn &&
      alltrue([for redirect in aws_lb_listener.http.default_action[0].redirect : "${redirect.status_code} ${redirect.protocol} ${redirect.host}" == "HTTP_301 HTTPS totes.example"])
    )
    error_message = "Only HTTPS with TLS 1.2 or newer must be served; HTTP is redirected."
  }

  assert {
    condition = (
      !aws_lb.this.internal && aws_lb.this.drop_invalid_header_fields && aws_lb.this.enable_deletion_protection && aws_lb.this.idle_timeout > 60 &&
      toset(aws_lb.this.subnets) == toset(["subnet-a", "subnet-b"]) &&
      aws_lb.this.access_logs[0].enabled && aws_lb.this.access_logs[0].bucket == "totes-test-logs" && aws_lb.this.access_logs[0].prefix == "dashboard"
    )
    error_message = "The load balancer must log, and keep WebSockets that are idle for a minute."
  }

  assert {
    condition = (
      aws_lb_target_group.this.stickiness[0].type == "lb_cookie" && aws_lb_target_group.this.target_type == "ip" &&
      aws_lb_target_group.this.health_check[0].path == "/_stcore/health" && aws_lb_target_group.this.port == 8501
    )
    error_message = "Each browser must stay at one task, and tasks must be checked."
  }

  # Connections: users to the load balancer, it to the provider and the tasks.
  assert {
    condition = toset([for rule in aws_vpc_security_group_ingress_rule.users : "${rule.cidr_ipv4} ${rule.from_port} ${rule.to_port} ${rule.security_group_id == aws_security_group.balancer.id}"]) == toset([
      "203.0.113.0/24 80 80 true", "203.0.113.0/24 443 443 true",
    ])
    error_message = "Exactly the clients must reach the load balancer."
  }

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.tasks.security_group_id == "sg-dashboard" && aws_vpc_security_group_ingress_rule.tasks.cidr_ipv4 == null &&
      aws_vpc_security_group_ingress_rule.tasks.referenced_security_group_id == aws_security_group.balancer.id &&
      aws_vpc_security_group_ingress_rule.tasks.from_port == 8501 &&
      aws_vpc_security_group_egress_rule.tasks.referenced_security_group_id == "sg-dashboard" &&
      aws_vpc_security_group_egress_rule.provider.from_port == 443 && aws_vpc_security_group_egress_rule.provider.to_port == 443
    )
    error_message = "Exactly the load balancer must reach the tasks."
  }

  assert {
    condition = (
      aws_ecs_service.this.desired_count == 2 && aws_ecs_service.this.availability_zone_rebalancing == "ENABLED" && !aws_ecs_service.this.network_configuration[0].assign_public_ip &&
      aws_ecs_service.this.network_configuration[0].security_groups == toset(["sg-dashboard"]) &&
      aws_ecs_service.this.deployment_circuit_breaker[0].enable && aws_ecs_service.this.deployment_circuit_breaker[0].rollback
    )
    error_message = "Two tasks must run in private subnets, and a version that does not start must be rolled back."
  }

  assert {
    condition     = aws_ecs_task_definition.this.skip_destroy && aws_ecs_service.this.wait_for_steady_state
    error_message = "The version before must stay active, as ECS rolls back to it, and Terraform must wait for the new one."
  }

  assert {
    condition = alltrue([for container in jsondecode(aws_ecs_task_definition.this.container_definitions) :
      container.command == ["dashboard", "--host", "0.0.0.0", "--port", "8501", "--viewers-only"] && container.readonlyRootFilesystem &&
      strcontains(container.healthCheck.command[3], "http://127.0.0.1:8501/_stcore/health") &&
      { for setting in container.environment : setting.name => setting.value } == {
        FORWARDED_ALLOW_IPS     = "10.84.15.0/24,10.84.14.0/24"
        TMPDIR                  = "/var/lib/totes"
        TOTES_DASHBOARD_COMPANY = "Widgets"
        TOTES_DASHBOARD_SECRET  = var.login_secret
        TOTES_DASHBOARD_URL     = "https://totes.example"
      }
    ])
    error_message = "Users are not known to the program, so no user must see what operators see."
  }

  assert {
    condition = { for statement in jsondecode(aws_iam_role_policy.this.policy).Statement : join(" ", statement.Action) => join(" ", statement.Resource) } == {
      "secretsmanager:GetSecretValue" = var.login_secret
      "kms:Decrypt"                   = var.keys.secrets
    }
    error_message = "The tasks must read their login, and nothing else."
  }

  assert {
    condition = { for rule in aws_wafv2_web_acl.this.rule : rule.name => [for group in rule.statement[0].managed_rule_group_statement : [for counted in group.rule_action_override : counted.name]] } == {
      limit-of-an-address                  = []
      AWSManagedRulesCommonRuleSet         = [["SizeRestrictions_Cookie_HEADER", "SizeRestrictions_QUERYSTRING"]]
      AWSManagedRulesKnownBadInputsRuleSet = [[]]
    }
    error_message = "The firewall must have the rules of AWS, except two on sizes that the dashboard exceeds, and a limit."
  }

  assert {
    condition = (
      aws_wafv2_web_acl_association.this.resource_arn == aws_lb.this.arn && aws_wafv2_web_acl_association.this.web_acl_arn == aws_wafv2_web_acl.this.arn &&
      aws_cloudwatch_log_group.firewall.name == "aws-waf-logs-totes-test" && aws_cloudwatch_log_group.firewall.kms_key_id == var.keys.signals &&
      aws_wafv2_web_acl_logging_configuration.this.redacted_fields[0].single_header[0].name == "cookie"
    )
    error_message = "The firewall must be in front of the load balancer, and log no session of a user."
  }

  assert {
    condition = { for name, alarm in aws_cloudwatch_metric_alarm.this : name => "${alarm.metric_name} ${alarm.statistic} ${alarm.comparison_operator} ${alarm.threshold} ${alarm.treat_missing_data}" } == {
      unavailable = "HealthyHostCount Maximum LessThanThreshold 1 breaching"
      errors      = "HTTPCode_Target_5XX_Count Sum GreaterThanThreshold 10 notBreaching"
      unanswered  = "HTTPCode_ELB_5XX_Count Sum GreaterThanThreshold 10 notBreaching"
      sign-in     = "ELBAuthError Sum GreaterThanThreshold 5 notBreaching"
    }
    error_message = "An alarm is missing or watches the wrong metric."
  }

  assert {
    condition = alltrue([for name, alarm in aws_cloudwatch_metric_alarm.this :
      alarm.namespace == "AWS/ApplicationELB" && alarm.dimensions.LoadBalancer == aws_lb.this.arn_suffix && (lookup(alarm.dimensions, "TargetGroup", null) != null) == (name == "unavailable")
    ])
    error_message = "An alarm watches another load balancer."
  }
}

run "oidc" {
  command = plan

  module {
    source = "./modules/dashboard"
  }

  variables {
    sign_in = {
      oidc = {
        issuer                 = "https://provider.example"
        authorization_endpoint = "https://provider.example/authorize"
        token_endpoint         = "https://provider.example/token"
        user_info_endpoint     = "https://provider.example/userinfo"
        client_id              = "client"
      }
    }
  }

  assert {
    condition     = [for action in aws_lb_listener.https.default_action : action.type] == ["authenticate-oidc", "forward"]
    error_message = "Users must sign in before a request is forwarded."
  }

  assert {
    condition = alltrue([for signed in aws_lb_listener.https.default_action[0].authenticate_oidc :
      signed.issuer == "https://provider.example" && signed.token_endpoint == "https://provider.example/token" && nonsensitive(signed.client_secret) == "set by make oidc-client-secret"
    ])
    error_message = "Users must sign in at the provider, whose client secret Terraform must not know."
  }
}
