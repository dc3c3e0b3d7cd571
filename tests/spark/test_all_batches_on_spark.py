"""Spark over all batches at once returns what DuckDB returns batch by batch.

tests/unit/test_all_batches.py runs every query in DuckDB alone, which is quicker.
"""

from pathlib import Path

import duckdb
from batched_queries import BATCHES, ONLY_IN_SPARK, QUERIES, random_rows
from depth import drawn, sample, seeded_random
from pyspark.sql import SparkSession
from two_engines import TwoEngines


def test_all_batches_at_once_give_the_rows_of_each_batch(
    spark: SparkSession, tmp_path: Path
) -> None:
    chance = seeded_random()
    for _ in range(drawn(1, 3)):
        engines = TwoEngines(duckdb.connect(), spark, tmp_path)
        for name, rows in random_rows(chance).items():
            engines.add(name, rows)
        for query in (*sample(3, QUERIES, "on Spark"), *ONLY_IN_SPARK):
            assert engines.in_spark(query)[1] == engines.in_duckdb(query, BATCHES)[1], query
