"""`make bench-spark`: one lake, made into star rows by DuckDB and by Spark.

For each number of sales orders (1,000,000: 4.2 million rows), a lake of a first batch and one of
11,500 changes is transformed by each engine into a store of its own, and the rows of both are
compared. The processor's seconds are those of all processes, Java's included.
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from generations import Generation, compare

from bench import Totes, change
from dashboard import MILLION
from measurement import Measurement, show, show_growth
from totes.demo.simulator import bulk
from totes.embedded.servers import (
    prepare_source,
    prepare_warehouse,
    source_server,
    warehouse_server,
)
from totes.lake.folder import FolderStore

ENGINES: Mapping[str, Mapping[str, str]] = {
    "duckdb": {},
    "spark": {"TOTES_SPARK_MIN_SIZE": "0MB"},
}
"""The settings with which each engine transforms all batches."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--orders", type=int, nargs="+", default=[MILLION])
    parser.add_argument("--json", type=Path, default=Path("bench.json"))
    arguments = parser.parse_args()
    runs: dict[int, list[Measurement]] = {}
    for orders in arguments.orders:
        with TemporaryDirectory(prefix="totes-bench-") as folder:
            runs[orders] = list(measure_engines(Path(folder), orders))
        print(f"{orders:,} sales orders")
        show(runs[orders])
    if len(runs) > 1:
        show_growth(runs)
    written = {str(orders): [asdict(one) for one in run] for orders, run in runs.items()}
    arguments.json.write_text(json.dumps(written, indent=1) + "\n")
    return 0


def measure_engines(folder: Path, orders: int) -> Iterator[Measurement]:
    """Transform all batches of a lake with each engine, and compare the rows."""
    with source_server(folder) as source_at, warehouse_server(folder) as warehouse_at:
        source, warehouse = prepare_source(source_at.dsn), prepare_warehouse(warehouse_at.dsn)
        bulk(source.owner, orders=orders, seed=1)
        command = Totes(folder, source, warehouse)
        yield command.run("ingest", name="ingest, first batch")
        change(source, orders)
        yield command.run("ingest", name="ingest, after 11,500 changes")
        generations = []
        for engine, settings in ENGINES.items():
            processed = folder / engine
            own = {**settings, "TOTES_PROCESSED_URL": str(processed)}
            yield replace(command, settings=own).run(
                *("transform", "--engine", engine), name=f"transform --engine {engine}"
            )
            generations.append(Generation(FolderStore(processed), 1))
        comparison = compare(*generations)
        if comparison.differences:
            raise RuntimeError(f"The engines differ:\n{comparison}")
        yield Measurement("the rows are equal", 0.0, note=f"{comparison.rows:,} rows")


if __name__ == "__main__":
    sys.exit(main())
