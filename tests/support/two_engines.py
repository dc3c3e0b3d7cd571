"""The same tables in DuckDB and in Spark, and the rows of a query in both, batch by batch."""

from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
from pyspark.sql import DataFrame, SparkSession

from totes.sql_text import literal, quote
from totes.star.dialect import BATCH, to_spark

Rows = Counter[tuple[Any, ...]]


class TwoEngines:
    """Tables in both engines. A table with a column BATCH is `batched`."""

    def __init__(
        self, engine: duckdb.DuckDBPyConnection, spark: SparkSession, folder: Path
    ) -> None:
        self.engine, self.spark = engine, spark
        self.batched: set[str] = set()
        self._folder = folder
        self._files = 0

    def add(self, name: str, rows: str) -> None:
        """Add the result of a query of DuckDB as table `name`."""
        path = self._next_path()
        self.engine.execute(f"copy ({rows}) to {literal(str(path))} (format parquet)")
        self.spark.read.parquet(str(path)).createOrReplaceTempView(f"`{name}`")
        self.engine.execute(f"create or replace view {quote(name)} as from {literal(str(path))}")
        columns = [column for column, *_ in self.engine.table(quote(name)).description]
        self.batched.discard(name)
        if BATCH in columns:
            self.batched.add(name)
            self.engine.execute(f"create or replace view {quote(f'all {name}')} as from '{path}'")

    def show_batch(self, batch: int) -> None:
        """Restrict the batched tables of DuckDB to one batch."""
        for name in self.batched:
            self.engine.execute(
                f"create or replace view {quote(name)} as select * exclude ({BATCH})"
                f" from {quote(f'all {name}')} where {BATCH} = {batch}"
            )

    def in_duckdb(self, query: str, batches: Collection[int]) -> tuple[list[str], Rows]:
        """Return the types of a query's columns, and its rows of each batch with its number."""
        rows: Rows = Counter()
        types: list[str] = []
        for batch in batches:
            self.show_batch(batch)
            types = self._types(query)
            rows.update((*row, batch) for row in self.engine.execute(query).fetchall())
        return types, rows

    def in_spark(self, query: str) -> tuple[list[str], Rows]:
        """Return the same, from the Parquet that Spark writes in one query over all batches."""
        with self._stored(self.spark.sql(to_spark(query, batched=self.batched))) as rows:
            types = self._types(f"select * exclude ({BATCH}) from ({rows})")
            return types, Counter(self.engine.execute(f"{rows}").fetchall())

    @contextmanager
    def _stored(self, frame: DataFrame) -> Iterator[str]:
        path = self._next_path()
        frame.write.parquet(str(path))
        yield f"select * from read_parquet({literal(f'{path}/*.parquet')})"

    def _types(self, query: str) -> list[str]:
        described = self.engine.execute(f"describe {query}").fetchall()
        return [f"{name} {kind}" for name, kind, *_ in described]

    def _next_path(self) -> Path:
        self._files += 1
        return self._folder / f"{self._files}.parquet"
