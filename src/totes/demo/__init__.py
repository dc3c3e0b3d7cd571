"""Embedded PostgreSQL servers and a simulated business that writes to them."""
