"""The warehouse: its schema, loads into it, and its connections."""
