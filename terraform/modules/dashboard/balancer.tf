# The load balancer, which encrypts, lets users sign in, and keeps each browser at one task.

locals {
  health = "/_stcore/health"

  # oidc-client-secret (tools/aws/oidc_client_secret.py) replaces it: Terraform would keep the secret in its
  # state. AWS does not return the secret, so a plan shows no difference.
  placeholder = "set by make oidc-client-secret"

  session_seconds = 24 * 60 * 60
}

resource "aws_lb" "this" {
  #checkov:skip=CKV2_AWS_76:as CKV_AWS_192 of its firewall, whose rules checkov does not read
  #checkov:skip=CKV_AWS_150:a variable sets it, as dev must be deletable; it is on by default
  name                       = var.name
  load_balancer_type         = "application"
  internal                   = false # the sign-in needs a route to the provider
  subnets                    = var.public_subnets[*].id
  security_groups            = [aws_security_group.balancer.id]
  drop_invalid_header_fields = true
  enable_deletion_protection = var.deletion_protection
  idle_timeout               = 120 # seconds; an idle WebSocket sends something every 20

  access_logs {
    enabled = true
    bucket  = var.access_logs
    prefix  = "dashboard"
  }
}

resource "aws_lb_target_group" "this" {
  #checkov:skip=CKV_AWS_378:TLS ends at the load balancer, the only one that reaches the tasks, in the same network
  name                 = var.name
  vpc_id               = var.vpc
  target_type          = "ip"
  protocol             = "HTTP"
  port                 = local.port
  deregistration_delay = 30 # seconds; browsers connect again by themselves

  # The state of a page is in one task: its WebSocket, downloads and later requests must reach the same.
  stickiness {
    type            = "lb_cookie"
    cookie_duration = local.session_seconds
  }

  health_check {
    path                = local.health
    matcher             = "200"
    interval            = 15
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 3
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  protocol          = "HTTPS"
  port              = 443
  certificate_arn   = var.certificate_arn
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"

  routing_http_response_strict_transport_security_header_value = "max-age=31536000"
  routing_http_response_x_content_type_options_header_value    = "nosniff"

  dynamic "default_action" {
    for_each = var.sign_in.cognito[*]

    content {
      type  = "authenticate-cognito"
      order = 1

      authenticate_cognito {
        user_pool_arn       = default_action.value.user_pool_arn
        user_pool_client_id = default_action.value.client_id
        user_pool_domain    = default_action.value.domain
        scope               = "openid"
        session_timeout     = local.session_seconds
      }
    }
  }

  dynamic "default_action" {
    for_each = var.sign_in.oidc[*]

    content {
      type  = "authenticate-oidc"
      order = 1

      authenticate_oidc {
        issuer                 = default_action.value.issuer
        authorization_endpoint = default_action.value.authorization_endpoint
        token_endpoint         = default_action.value.token_endpoint
        user_info_endpoint     = default_action.value.user_info_endpoint
        client_id              = default_action.value.client_id
        client_secret          = local.placeholder
        scope                  = "openid"
        session_timeout        = local.session_seconds
      }
    }
  }

  default_action {
    type             = "forward"
    order            = 2
    target_group_arn = aws_lb_target_group.this.arn
  }
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.this.arn
  protocol          = "HTTP"
  port              = 80

  default_action {
    type = "redirect"

    redirect {
      status_code = "HTTP_301"
      protocol    = "HTTPS"
      port        = "443"
      host        = var.domain
    }
  }
}

# -- Allowed connections

resource "aws_security_group" "balancer" {
  name        = "${local.name}-balancer"
  description = "Load balancer of the dashboard, for its users."
  vpc_id      = var.vpc

  tags = { Name = "${local.name}-balancer" }
}

resource "aws_vpc_security_group_ingress_rule" "users" {
  for_each = { for pair in setproduct(var.clients, [80, 443]) : join(" ", pair) => { cidr = pair[0], port = tonumber(pair[1]) } }

  security_group_id = aws_security_group.balancer.id
  description       = "From users of the dashboard"
  ip_protocol       = "tcp"
  from_port         = each.value.port
  to_port           = each.value.port
  cidr_ipv4         = each.value.cidr
}

resource "aws_vpc_security_group_egress_rule" "provider" {
  security_group_id = aws_security_group.balancer.id
  description       = "The provider of the sign-in, whose addresses change"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_egress_rule" "tasks" {
  security_group_id            = aws_security_group.balancer.id
  description                  = "Tasks of the dashboard"
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  referenced_security_group_id = var.security_group
}

resource "aws_vpc_security_group_ingress_rule" "tasks" {
  security_group_id            = var.security_group
  description                  = "From the load balancer"
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  referenced_security_group_id = aws_security_group.balancer.id
}
