output "instance" {
  description = "ID of the machine, the target of a session."
  value       = aws_instance.this.id
}
