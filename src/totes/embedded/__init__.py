"""PostgreSQL without an installation: servers in a folder, and the databases in them."""
