# The route to totesys: peering with its network, or a NAT gateway.

# -- Peering

resource "aws_vpc_peering_connection" "source" {
  count = local.peered ? 1 : 0

  vpc_id        = aws_vpc.this.id
  peer_vpc_id   = var.source_vpc.id
  peer_owner_id = var.source_vpc.account
  peer_region   = var.source_vpc.region
  auto_accept   = var.source_vpc.account == null && var.source_vpc.region == null # else its owner must accept it

  tags = { Name = "${var.name}-totesys" }
}

resource "aws_route" "source_by_peering" {
  count = local.peered ? 1 : 0

  route_table_id            = aws_route_table.private.id
  destination_cidr_block    = var.source_vpc.cidr
  vpc_peering_connection_id = aws_vpc_peering_connection.source[0].id
}

# -- NAT

resource "aws_eip" "nat" {
  #checkov:skip=CKV2_AWS_19:it belongs to the NAT gateway
  count = local.nat ? 1 : 0

  domain = "vpc"

  tags = { Name = "${var.name}-nat" }
}

resource "aws_nat_gateway" "this" {
  count = local.nat ? 1 : 0

  allocation_id = aws_eip.nat[0].id
  subnet_id     = aws_subnet.public[local.zones[0]].id

  tags = { Name = var.name }

  depends_on = [aws_internet_gateway.this]
}

# To totesys only: security groups and route allow ingest and tasks no other destination.
resource "aws_route" "source_by_nat" {
  count = local.nat ? 1 : 0

  route_table_id         = aws_route_table.private.id
  destination_cidr_block = var.source_address
  nat_gateway_id         = aws_nat_gateway.this[0].id
}
