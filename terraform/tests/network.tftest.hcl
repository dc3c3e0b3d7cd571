# The network: no inbound access, three kinds of routes to totesys, and one to the warehouse for a person.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name              = "totes-test"
  cidr              = "10.84.0.0/20"
  zones             = 2
  endpoint_zones    = 1
  source_access     = "none"
  source_address    = null
  source_port       = 5432
  tasks             = false
  warehouse_clients = []
  log_days          = 365
  key               = "arn:aws:kms:eu-west-2:111122223333:key/signals"
}

run "without_source" {
  module {
    source = "./modules/network"
  }

  assert {
    condition     = length(aws_internet_gateway.this) + length(aws_nat_gateway.this) + length(aws_vpc_peering_connection.source) == 0
    error_message = "By default there must be no outbound route."
  }

  assert {
    condition     = length(aws_subnet.private) == 2 && alltrue([for subnet in aws_subnet.private : !subnet.map_public_ip_on_launch])
    error_message = "There must be two private subnets."
  }

  assert {
    condition = (
      toset([for rule in aws_vpc_security_group_ingress_rule.endpoints : rule.security_group_id]) == toset([aws_security_group.endpoints.id]) &&
      aws_vpc_security_group_ingress_rule.warehouse["load"].security_group_id == aws_security_group.warehouse.id &&
      aws_vpc_security_group_ingress_rule.warehouse["load"].referenced_security_group_id == aws_security_group.workload["load"].id &&
      length(aws_vpc_security_group_ingress_rule.clients) == 0
    )
    error_message = "Functions must connect to endpoints only, and load to the warehouse."
  }

  assert {
    condition = alltrue([for rule in concat(
      values(aws_vpc_security_group_ingress_rule.endpoints), values(aws_vpc_security_group_ingress_rule.warehouse),
      values(aws_vpc_security_group_egress_rule.endpoints), values(aws_vpc_security_group_egress_rule.s3), values(aws_vpc_security_group_egress_rule.warehouse),
    ) : rule.cidr_ipv4 == null && rule.cidr_ipv6 == null && rule.ip_protocol == "tcp"])
    error_message = "No inbound rule must allow addresses."
  }

  assert {
    condition     = length(aws_vpc_security_group_egress_rule.source) == 0
    error_message = "Without source_address, ingest must not have a rule for totesys."
  }

  assert {
    condition = (
      aws_vpc_endpoint.s3.vpc_endpoint_type == "Gateway" &&
      toset(keys(aws_vpc_endpoint.service)) == toset(["secretsmanager", "sns"]) &&
      alltrue([for endpoint in aws_vpc_endpoint.service : endpoint.private_dns_enabled && length(endpoint.subnet_ids) == 1]) &&
      alltrue([for endpoint in concat([aws_vpc_endpoint.s3], values(aws_vpc_endpoint.service)) :
        jsondecode(endpoint.policy).Statement[0].Condition.StringEquals["aws:ResourceAccount"] == "111122223333" && length(jsondecode(endpoint.policy).Statement) == 1
      ])
    )
    error_message = "S3, Secrets Manager and SNS must have endpoints, limited to resources of this account."
  }

  assert {
    condition     = length(aws_default_security_group.closed.ingress) + length(aws_default_security_group.closed.egress) == 0
    error_message = "The default security group must allow nothing."
  }

  assert {
    condition     = aws_cloudwatch_log_group.flow.kms_key_id == var.key && aws_cloudwatch_log_group.flow.retention_in_days == 365
    error_message = "Rejected connections must be logged, encrypted, for log_days."
  }
}

run "dashboard" {
  module {
    source = "./modules/network"
  }

  variables {
    tasks     = true
    dashboard = true
  }

  assert {
    condition = (
      [for subnet in aws_subnet.public : "${subnet.availability_zone} ${subnet.cidr_block}"] == ["eu-west-2a 10.84.15.0/24", "eu-west-2b 10.84.14.0/24"] &&
      length(aws_internet_gateway.this) == 1 && length(aws_nat_gateway.this) == 0 &&
      toset([for one in aws_route_table_association.public : one.subnet_id]) == toset([for subnet in aws_subnet.public : subnet.id]) &&
      aws_route.internet[0].route_table_id == aws_route_table.public[0].id
    )
    error_message = "The load balancer must have public subnets, and private ones no route to the internet."
  }

  assert {
    condition = (
      aws_vpc_security_group_ingress_rule.warehouse["dashboard"].referenced_security_group_id == output.dashboard_security_group &&
      aws_vpc_security_group_ingress_rule.endpoints["dashboard"].referenced_security_group_id == output.dashboard_security_group &&
      aws_vpc_security_group_egress_rule.s3["dashboard"].prefix_list_id == aws_vpc_endpoint.s3.prefix_list_id
    )
    error_message = "The dashboard must reach the warehouse, the endpoints, and S3 for its image."
  }
}

run "nat" {
  module {
    source = "./modules/network"
  }

  variables {
    source_access  = "nat"
    source_address = "203.0.113.7/32"
  }

  assert {
    condition = (
      aws_route.source_by_nat[0].destination_cidr_block == "203.0.113.7/32" &&
      aws_route.source_by_nat[0].route_table_id == aws_route_table.private.id &&
      aws_vpc_security_group_egress_rule.source["ingest"].cidr_ipv4 == "203.0.113.7/32" &&
      aws_vpc_security_group_egress_rule.source["ingest"].security_group_id == aws_security_group.workload["ingest"].id &&
      [for subnet in aws_subnet.public : subnet.cidr_block] == ["10.84.15.0/24"]
    )
    error_message = "The NAT must give a route to totesys only, for ingest only."
  }
}

run "peering" {
  module {
    source = "./modules/network"
  }

  variables {
    source_access     = "peering"
    source_address    = "10.1.2.0/24"
    source_port       = 6543
    source_vpc        = { id = "vpc-1", cidr = "10.1.0.0/16", account = "444455556666" }
    warehouse_clients = ["10.1.9.0/24"]
  }

  assert {
    condition = (
      length(aws_nat_gateway.this) + length(aws_internet_gateway.this) == 0 &&
      aws_vpc_peering_connection.source[0].peer_vpc_id == "vpc-1" &&
      !aws_vpc_peering_connection.source[0].auto_accept &&
      aws_route.source_by_peering[0].destination_cidr_block == "10.1.0.0/16" &&
      aws_vpc_security_group_egress_rule.source["ingest"].from_port == 6543 &&
      aws_vpc_security_group_egress_rule.source["ingest"].cidr_ipv4 == "10.1.2.0/24"
    )
    error_message = "Peering must give ingest a route to totesys, and none to the internet."
  }

  assert {
    condition     = toset([for rule in aws_vpc_security_group_ingress_rule.clients : "${rule.cidr_ipv4} ${rule.from_port}"]) == toset(["10.1.9.0/24 5432"])
    error_message = "The warehouse must allow the clients in warehouse_clients."
  }
}

run "tasks" {
  module {
    source = "./modules/network"
  }

  variables {
    tasks          = true
    source_access  = "nat"
    source_address = "203.0.113.7/32"
  }

  assert {
    condition = (
      { for name, rule in aws_vpc_security_group_egress_rule.source : name => "${rule.security_group_id} ${rule.cidr_ipv4}" } ==
      { for name in ["ingest", "task"] : name => "${aws_security_group.workload[name].id} 203.0.113.7/32" } &&
      { for name, rule in aws_vpc_security_group_ingress_rule.warehouse : name => rule.referenced_security_group_id } ==
      { for name in ["load", "task"] : name => aws_security_group.workload[name].id } &&
      alltrue([for rules in [aws_vpc_security_group_egress_rule.warehouse, aws_vpc_security_group_egress_rule.endpoints, aws_vpc_security_group_egress_rule.s3, aws_vpc_security_group_ingress_rule.endpoints] : contains(keys(rules), "task")])
    )
    error_message = "Tasks must reach totesys, the warehouse and AWS's services, as all stages together do."
  }

  assert {
    condition     = output.task_security_group == aws_security_group.workload["task"].id && keys(output.stage_security_groups) == ["ingest", "load", "transform"]
    error_message = "Tasks must have a security group of their own."
  }

  assert {
    condition     = toset(keys(aws_vpc_endpoint.service)) == toset(["ecr.api", "ecr.dkr", "logs", "secretsmanager", "sns"])
    error_message = "Fargate must reach the registry and the log without the internet."
  }

  assert {
    condition = [for statement in jsondecode(aws_vpc_endpoint.s3.policy).Statement : statement if statement.Sid == "AllowImageLayers"] == [{
      Sid       = "AllowImageLayers"
      Effect    = "Allow"
      Principal = "*"
      Action    = "s3:GetObject"
      Resource  = "arn:aws:s3:::prod-eu-west-2-starport-layer-bucket/*"
    }] && length(jsondecode(aws_vpc_endpoint.s3.policy).Statement) == 2
    error_message = "Besides this account's buckets, only the bucket of image layers must be reached."
  }
}

run "operator" {
  module {
    source = "./modules/operator"
  }

  variables {
    vpc                      = "vpc-1"
    subnet                   = "subnet-1"
    warehouse_security_group = "sg-warehouse"
  }

  assert {
    condition = (
      toset([for rule in aws_vpc_security_group_egress_rule.this : rule.referenced_security_group_id]) == toset(["sg-warehouse", aws_security_group.endpoints.id]) &&
      alltrue([for rule in aws_vpc_security_group_ingress_rule.this : rule.referenced_security_group_id == aws_security_group.this.id && rule.security_group_id != aws_security_group.this.id])
    )
    error_message = "The operator's instance must have no inbound rule, and connect to Session Manager and the warehouse only."
  }

  assert {
    condition = (
      aws_instance.this.metadata_options[0].http_tokens == "required" && aws_instance.this.root_block_device[0].encrypted &&
      alltrue([for action in jsondecode(aws_iam_role_policy.this.policy).Statement[0].Action : startswith(action, "ssmmessages:") || action == "ssm:UpdateInstanceInformation"])
    )
    error_message = "Its role must allow Session Manager only."
  }
}
