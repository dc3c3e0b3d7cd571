output "vpc" {
  description = "ID of the VPC."
  value       = aws_vpc.this.id
}

output "subnets" {
  description = "IDs of the private subnets."
  value       = [for zone in local.zones : aws_subnet.private[zone].id]
}

output "stage_security_groups" {
  description = "ID of the security group of each stage's function."
  value       = { for stage in local.stages : stage => aws_security_group.workload[stage].id }
}

output "task_security_group" {
  description = "ID of the security group of tasks; null without tasks."
  value       = one([for task in local.tasks : aws_security_group.workload[task].id])
}

output "spark_security_group" {
  description = "ID of the security group of Spark's workers; null without Spark."
  value       = one([for spark in local.sparks : aws_security_group.workload[spark].id])
}

output "dashboard_security_group" {
  description = "ID of the security group of the dashboard's tasks; null without dashboard."
  value       = one([for dashboard in local.dashboards : aws_security_group.workload[dashboard].id])
}

output "public_subnets" {
  description = "ID and CIDR block of each public subnet; empty without NAT and dashboard."
  value       = [for zone in local.public_zones : { id = aws_subnet.public[zone].id, cidr = aws_subnet.public[zone].cidr_block }]
}

output "warehouse_security_group" {
  description = "ID of the warehouse's security group."
  value       = aws_security_group.warehouse.id
}

output "source_peering" {
  description = "ID of the peering with the network of totesys; null for none."
  value       = one(aws_vpc_peering_connection.source[*].id)
}

output "nat_address" {
  description = "Public address of ingest and tasks; null without NAT."
  value       = one(aws_eip.nat[*].public_ip)
}
