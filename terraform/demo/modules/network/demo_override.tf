resource "aws_vpc_security_group_egress_rule" "endpoints" {
  lifecycle {
    ignore_changes = [description] # moto does not return it
  }
}

resource "aws_vpc_security_group_egress_rule" "s3" {
  lifecycle {
    ignore_changes = [description] # moto does not return it
  }
}

resource "aws_vpc_security_group_egress_rule" "source" {
  lifecycle {
    ignore_changes = [description] # moto does not return it
  }
}

resource "aws_vpc_security_group_egress_rule" "warehouse" {
  lifecycle {
    ignore_changes = [description] # moto does not return it
  }
}

resource "aws_vpc_security_group_ingress_rule" "endpoints" {
  lifecycle {
    ignore_changes = [description] # moto does not return it
  }
}

resource "aws_vpc_security_group_ingress_rule" "warehouse" {
  lifecycle {
    ignore_changes = [description] # moto does not return it
  }
}

resource "aws_vpc_security_group_ingress_rule" "clients" {
  lifecycle {
    ignore_changes = [description] # moto does not return it
  }
}
