"""Publishes the star as Iceberg tables, and reads them through pyiceberg."""

from collections.abc import Mapping
from datetime import time
from pathlib import Path
from typing import Any

from processed_lake import ProcessedLake
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot
from small_star import FACT, SMALL

from totes.config.dsn import Dsn
from totes.lakehouse.catalogue import Lakehouse
from totes.lakehouse.publish import Publisher
from totes.source.catalogue import CaptureScope
from totes.stages.runner import PUBLISH, Pipeline, run_stage
from totes.star.folder import TOTESYS, Star

Row = tuple[Any, ...]


def new_lakehouse(folder: Path, name: str = "iceberg") -> Lakehouse:
    """Return a lakehouse in a folder, with a catalogue in SQLite."""
    return Lakehouse(f"sqlite:///{folder}/{name}.db", str(folder / name))


def publish(lakehouse: Lakehouse, lake: ProcessedLake, star: Star = SMALL) -> list[int]:
    """Publish like a process that knows nothing of earlier publications; return the batches."""
    return [published.batch for published in Publisher(lakehouse, star).publish(lake.store)]


def publish_pending(pipeline: Pipeline) -> None:
    """Publish, as the step of `totes run`."""
    list(run_stage(pipeline, PUBLISH))


def publishing_pipeline(lakehouse: Lakehouse, lake: ProcessedLake, star: Star = SMALL) -> Pipeline:
    """Return a pipeline that has only a processed store, and publishes."""
    nowhere = Dsn("host=/nowhere")
    publisher = Publisher(lakehouse, star)
    store, scope = lake.store, CaptureScope()
    return Pipeline(nowhere, scope, store, store, nowhere, star=star, publisher=publisher)


def load_table(lakehouse: Lakehouse, name: str = FACT) -> Table:
    with lakehouse.open() as catalogue:
        return catalogue.load_table((lakehouse.namespace, name))


def published_batch(snapshot: Snapshot) -> int | None:
    """Return the batch that a snapshot's summary records."""
    assert snapshot.summary
    batch = snapshot.summary.additional_properties.get("totes.batch")
    return None if batch is None else int(batch)


def read_tables(
    lakehouse: Lakehouse, star: Star = TOTESYS, snapshots: Mapping[str, int] | None = None
) -> dict[str, list[Row]]:
    """Return all rows of every table, as `processed_lake.read_star_tables` does of a warehouse.

    `snapshots` are the ids of earlier snapshots to read, by table.
    """
    tables = {}
    with lakehouse.open() as catalogue:
        for name, table in star.tables.items():
            columns = {column.name: column.type.loaded for column in table.columns}
            if table.is_fact:
                columns |= dict.fromkeys(("valid_from", "valid_to"), "TIMESTAMPTZ")
            content = (
                catalogue.load_table((lakehouse.namespace, name))
                .scan(snapshot_id=(snapshots or {}).get(name))
                .to_arrow()
            )
            rows = zip(*(content[column].to_pylist() for column in columns), strict=True)
            tables[name] = sorted(
                (tuple(map(_loaded, row, columns.values())) for row in rows), key=repr
            )
    return tables


def _loaded(value: Any, kind: str) -> Any:
    """Return a value as the warehouse has it: times are text in Iceberg."""
    return time.fromisoformat(value) if kind == "TIME" and value is not None else value
