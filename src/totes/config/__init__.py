"""Settings, DSNs and secrets, and the databases and stores that they name."""
