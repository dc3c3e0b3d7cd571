# A network without inbound access, except to the dashboard's load balancer. Functions and tasks run in
# private subnets. They connect to S3 and other services of AWS through endpoints, to the warehouse, to
# totesys according to `source_access`, and to nothing else.

data "aws_availability_zones" "available" {
  #checkov:skip=CKV_AWS_394:the first zones by name are used, and the name of a new zone comes after theirs
  state = "available"

  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"] # no local zones
  }
}

data "aws_caller_identity" "current" {}

data "aws_partition" "current" {}

data "aws_region" "current" {}

locals {
  zones  = slice(data.aws_availability_zones.available.names, 0, var.zones)
  stages = toset(["ingest", "transform", "load"])
  tasks  = toset(var.tasks ? ["task"] : [])

  dashboards = toset(var.dashboard ? ["dashboard"] : [])
  sparks     = toset(var.spark ? ["spark"] : [])

  programs = setunion(local.stages, local.tasks, local.dashboards, local.sparks)
  clients  = setunion(["load"], local.tasks, local.dashboards) # of the warehouse
  nat      = var.source_access == "nat"
  peered   = var.source_access == "peering"
}

resource "aws_vpc" "this" {
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true # the private names of endpoints need it

  tags = { Name = var.name }
}

resource "aws_subnet" "private" {
  for_each = { for index, zone in local.zones : zone => index }

  vpc_id                  = aws_vpc.this.id
  availability_zone       = each.key
  cidr_block              = cidrsubnet(var.cidr, 4, each.value)
  map_public_ip_on_launch = false

  tags = { Name = "${var.name}-private-${each.key}" }
}

resource "aws_route_table" "private" {
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-private" }
}

resource "aws_route_table_association" "private" {
  for_each = aws_subnet.private

  subnet_id      = each.value.id
  route_table_id = aws_route_table.private.id
}

# The default security group allows nothing.
resource "aws_default_security_group" "closed" {
  vpc_id  = aws_vpc.this.id
  ingress = []
  egress  = []
}

# -- Endpoints of AWS's services

resource "aws_vpc_endpoint" "s3" {
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${data.aws_region.current.name}.s3"
  route_table_ids   = [aws_route_table.private.id]
  policy            = jsonencode({ Version = "2012-10-17", Statement = concat([local.own_account], local.image_layers) })

  tags = { Name = "${var.name}-s3" }
}

resource "aws_vpc_endpoint" "service" {
  for_each = toset(concat(
    ["secretsmanager", "sns"],
    var.tasks ? ["ecr.api", "ecr.dkr", "logs"] : [],
    var.spark ? ["emr-serverless", "logs"] : [], # for transform, which starts jobs, and for their log
    var.glue ? ["glue"] : [],
  ))

  vpc_id              = aws_vpc.this.id
  vpc_endpoint_type   = "Interface"
  service_name        = "com.amazonaws.${data.aws_region.current.name}.${each.key}"
  subnet_ids          = [for zone in slice(local.zones, 0, var.endpoint_zones) : aws_subnet.private[zone].id]
  security_group_ids  = [aws_security_group.endpoints.id]
  private_dns_enabled = true
  policy              = jsonencode({ Version = "2012-10-17", Statement = [local.own_account] })

  tags = { Name = "${var.name}-${each.key}" }
}

locals {
  # Only what belongs to this account can be reached.
  own_account = {
    Sid       = "AllowThisAccount"
    Effect    = "Allow"
    Principal = "*"
    Action    = "*"
    Resource  = "*"
    Condition = { StringEquals = { "aws:ResourceAccount" = data.aws_caller_identity.current.account_id } }
  }

  # An image's layers are in a bucket of AWS, and the registry signs the request for one.
  image_layers = var.tasks ? [{
    Sid       = "AllowImageLayers"
    Effect    = "Allow"
    Principal = "*"
    Action    = "s3:GetObject"
    Resource  = "arn:${data.aws_partition.current.partition}:s3:::prod-${data.aws_region.current.name}-starport-layer-bucket/*"
  }] : []
}

# -- Allowed connections

locals {
  groups = {
    task      = "Tasks, without inbound connections."
    dashboard = "Tasks of the dashboard, for its load balancer only."
    spark     = "Workers of Spark, without inbound connections."
  }
}

resource "aws_security_group" "workload" {
  #checkov:skip=CKV2_AWS_5:the functions and tasks use them, in other modules
  for_each = local.programs

  name        = "${var.name}-${each.key}"
  description = lookup(local.groups, each.key, "The function of stage ${each.key}, without inbound connections.")
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${var.name}-${each.key}" }
}

resource "aws_security_group" "endpoints" {
  name        = "${var.name}-endpoints"
  description = "Endpoints of AWS services, for functions and tasks only."
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${var.name}-endpoints" }
}

resource "aws_security_group" "warehouse" {
  #checkov:skip=CKV2_AWS_5:the warehouse uses it, in another module
  name        = "${var.name}-warehouse"
  description = "The warehouse, for load, tasks and warehouse_clients."
  vpc_id      = aws_vpc.this.id

  tags = { Name = "${var.name}-warehouse" }
}

resource "aws_vpc_security_group_egress_rule" "endpoints" {
  for_each = local.programs

  security_group_id            = aws_security_group.workload[each.key].id
  description                  = "Endpoints of AWS services"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.endpoints.id
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  for_each = local.programs

  security_group_id            = aws_security_group.endpoints.id
  description                  = "From ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = 443
  to_port                      = 443
  referenced_security_group_id = aws_security_group.workload[each.key].id
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  for_each = local.programs

  security_group_id = aws_security_group.workload[each.key].id
  description       = "S3"
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  prefix_list_id    = aws_vpc_endpoint.s3.prefix_list_id
}

resource "aws_vpc_security_group_egress_rule" "source" {
  for_each = var.source_address == null ? [] : setunion(["ingest"], local.tasks)

  security_group_id = aws_security_group.workload[each.key].id
  description       = "totesys"
  ip_protocol       = "tcp"
  from_port         = var.source_port
  to_port           = var.source_port
  cidr_ipv4         = var.source_address
}

resource "aws_vpc_security_group_egress_rule" "warehouse" {
  for_each = local.clients

  security_group_id            = aws_security_group.workload[each.key].id
  description                  = "The warehouse"
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  referenced_security_group_id = aws_security_group.warehouse.id
}

resource "aws_vpc_security_group_ingress_rule" "warehouse" {
  for_each = local.clients

  security_group_id            = aws_security_group.warehouse.id
  description                  = "From ${each.key}"
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  referenced_security_group_id = aws_security_group.workload[each.key].id
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  for_each = toset(var.warehouse_clients)

  security_group_id = aws_security_group.warehouse.id
  description       = "From a client of the warehouse"
  ip_protocol       = "tcp"
  from_port         = 5432
  to_port           = 5432
  cidr_ipv4         = each.value
}

# -- Rejected connections

resource "aws_flow_log" "rejected" {
  vpc_id          = aws_vpc.this.id
  traffic_type    = "REJECT"
  log_destination = aws_cloudwatch_log_group.flow.arn
  iam_role_arn    = aws_iam_role.flow.arn
}

resource "aws_cloudwatch_log_group" "flow" {
  name              = "/aws/vpc/${var.name}"
  retention_in_days = var.log_days
  kms_key_id        = var.key
}

resource "aws_iam_role" "flow" {
  name                 = "${var.name}-flow-log"
  description          = "Writes the network's log."
  permissions_boundary = var.boundary
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "vpc-flow-logs.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.current.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "flow" {
  name = "write"
  role = aws_iam_role.flow.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "WriteFlowLogs"
      Effect   = "Allow"
      Action   = ["logs:CreateLogStream", "logs:PutLogEvents", "logs:DescribeLogGroups", "logs:DescribeLogStreams"]
      Resource = "${aws_cloudwatch_log_group.flow.arn}:*"
    }]
  })
}
