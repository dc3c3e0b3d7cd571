# Access to the warehouse for a person without another network route: a small instance without inbound
# connections, through which Session Manager forwards a port. Remove it afterwards.

data "aws_region" "current" {}

data "aws_ssm_parameter" "image" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
}

resource "aws_instance" "this" {
  #checkov:skip=CKV_AWS_126:it forwards a port for an hour and needs no detailed monitoring
  ami                    = data.aws_ssm_parameter.image.insecure_value
  instance_type          = "t4g.nano"
  subnet_id              = var.subnet
  vpc_security_group_ids = [aws_security_group.this.id]
  iam_instance_profile   = aws_iam_instance_profile.this.name
  ebs_optimized          = true

  metadata_options {
    http_tokens = "required"
  }

  root_block_device {
    encrypted = true
  }

  tags = { Name = "${var.name}-operator" }

  lifecycle {
    ignore_changes = [ami] # a newer image does not replace the instance
  }

  depends_on = [aws_vpc_endpoint.this, aws_iam_role_policy.this]
}

# -- Permissions: Session Manager only

resource "aws_iam_role" "this" {
  name                 = "${var.name}-operator"
  description          = "Allows Session Manager to forward a port through the operator's instance."
  permissions_boundary = var.boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "ec2.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  #checkov:skip=CKV_AWS_290:Session Manager's channels have no ARN
  #checkov:skip=CKV_AWS_355:as CKV_AWS_290, its channels have no ARN
  name = "sessions"
  role = aws_iam_role.this.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid    = "SessionManager"
      Effect = "Allow"
      Action = [
        "ssm:UpdateInstanceInformation",
        "ssmmessages:CreateControlChannel",
        "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel",
        "ssmmessages:OpenDataChannel",
      ]
      Resource = "*"
    }]
  })
}

resource "aws_iam_instance_profile" "this" {
  name = "${var.name}-operator"
  role = aws_iam_role.this.name
}

# -- Network: connections to Session Manager and the warehouse only

resource "aws_vpc_endpoint" "this" {
  for_each = toset(["ssm", "ssmmessages"])

  vpc_id              = var.vpc
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${data.aws_region.current.name}.${each.key}"
  subnet_ids          = [var.subnet]
  security_group_ids  = [aws_security_group.endpoints.id]
  private_dns_enabled = true

  tags = { Name = "${var.name}-${each.key}" }
}

resource "aws_security_group" "this" {
  name        = "${var.name}-operator"
  description = "The instance of the operator, without inbound connections."
  vpc_id      = var.vpc

  tags = { Name = "${var.name}-operator" }
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-operator-endpoints"
  description = "Endpoints of Session Manager, for the instance of the operator only."
  vpc_id      = var.vpc

  tags = { Name = "${var.name}-operator-endpoints" }
}

locals {
  reached = {
    endpoints = { group = aws_security_group.endpoints.id, port = 443, description = "Session Manager" }
    warehouse = { group = var.warehouse_security_group, port = 5432, description = "The warehouse" }
  }
}

resource "aws_vpc_security_group_egress_rule" "this" {
  for_each = local.reached

  security_group_id            = aws_security_group.this.id
  description                  = each.value.description
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = each.value.group
}

resource "aws_vpc_security_group_ingress_rule" "this" {
  for_each = local.reached

  security_group_id            = each.value.group
  description                  = "From the instance of the operator"
  ip_protocol                  = "tcp"
  from_port                    = each.value.port
  to_port                      = each.value.port
  referenced_security_group_id = aws_security_group.this.id
}
