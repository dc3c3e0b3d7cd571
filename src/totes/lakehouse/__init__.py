"""The star's history as Iceberg tables; the only importer of pyiceberg."""
