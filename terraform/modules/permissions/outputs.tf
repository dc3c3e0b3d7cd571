output "statements" {
  description = "Statements of the role's policy."
  value       = local.statements
}
