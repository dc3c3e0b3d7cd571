"""The dashboard: what the business wants to know, read from the warehouse alone."""
