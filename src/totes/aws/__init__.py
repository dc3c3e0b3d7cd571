"""On AWS: what Lambda calls."""
