"""Reads the Iceberg tables of a star, through pyiceberg and DuckDB."""

from datetime import time
from typing import Any

import duckdb
from pyiceberg.catalog import Catalog

from totes.lakehouse.catalogue import Lakehouse
from totes.star.contract import quote
from totes.star.folder import TOTESYS, Star

Row = tuple[Any, ...]


def read_tables(
    lakehouse: Lakehouse, star: Star = TOTESYS, snapshots: dict[str, int] | None = None
) -> dict[str, list[Row]]:
    """Return all rows of every table, as `processed_lake.read_star_tables` does of a warehouse."""
    with lakehouse.open() as catalogue:
        return {
            name: read_table(catalogue, lakehouse, name, star, (snapshots or {}).get(name))
            for name in star.tables
        }


def read_table(
    catalogue: Catalog, lakehouse: Lakehouse, name: str, star: Star, snapshot: int | None = None
) -> list[Row]:
    """Return the rows of one table, sorted by their text."""
    table = star.tables[name]
    columns = [column.name for column in table.columns]
    columns += ["valid_from", "valid_to"] if table.is_fact else []
    loaded = catalogue.load_table((lakehouse.namespace, name))
    arrow = loaded.scan(snapshot_id=snapshot).to_arrow()
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.register("arrow", arrow)
        rows = engine.execute(f"select {', '.join(map(quote, columns))} from arrow").fetchall()
    times = [column.type.loaded == "TIME" for column in table.columns]
    times += [False] * (len(columns) - len(times))
    return sorted(
        (
            tuple(
                time.fromisoformat(value) if is_time and value else value
                for value, is_time in zip(row, times, strict=True)
            )
            for row in rows
        ),
        key=repr,
    )
