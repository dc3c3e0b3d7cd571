"""Settings, DSNs and secrets, and the resources that they lead to."""
