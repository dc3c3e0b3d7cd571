"""dlt's part of `make bench PEERS=1`: copy the tables named as arguments.

The Python of the peers runs it. Rows are read as Arrow tables, and loaded as Parquet files with
ADBC, the fastest way that dlt documents for PostgreSQL; the primary keys are those of the source.
Credentials are in environment variables.
"""

import sys

import dlt
from dlt.sources.sql_database import sql_database

source = sql_database(
    schema="public",
    table_names=sys.argv[1:],
    backend="pyarrow",
    reflection_level="full_with_precision",
)
for table in source.resources.values():
    table.apply_hints(
        incremental=dlt.sources.incremental("last_updated"), write_disposition="merge"
    )
pipeline = dlt.pipeline("peers", destination="postgres", dataset_name="public")
pipeline.run(source, loader_file_format="parquet").raise_on_failed_jobs()
