"""Sessions of PostgreSQL and what its errors mean, for source and warehouse alike."""
