output "instance" {
  description = "ID of the instance, the target of a session."
  value       = aws_instance.this.id
}
