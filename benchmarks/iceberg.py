"""Measure `totes publish`: a first publication of --orders orders, then batches of changes.

A processed store is written directly, so that nothing but the publication is measured. Each
publication is a process of its own; its memory is the maximum of its resident memory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import duckdb

from totes.lake.folder import FolderStore
from totes.lake.manifest import ProcessedManifest, StarFile, processed_manifest_path, sha256_hex
from totes.lakehouse.catalogue import Lakehouse
from totes.star.folder import TOTESYS

FACT = "fact_sales_order"
_VALUES = {"BIGINT": "1", "INTEGER": "1", "DATE": "date '2022-11-03'", "BOOLEAN": "true"}


class Lake:
    """A processed store in a folder, to which batches are added."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = FolderStore(folder / "processed")
        self.engine = duckdb.connect()
        self.engine.execute("SET TimeZone = 'UTC'")
        self.batch, self.previous = 0, ""

    def add(self, keys: Mapping[str, str], **changed: str) -> None:
        """Publish a batch with a row for each key of these queries, by table."""
        self.batch += 1
        at = datetime(2026, 11, 22, tzinfo=UTC) + timedelta(minutes=self.batch)
        files = tuple(self._write(name, query, at, changed) for name, query in keys.items())
        manifest = ProcessedManifest(
            batch=self.batch,
            previous=self.previous or None,
            captured_at=at,
            generation=1,
            ingested=f"{self.batch}",
            files=files,
            models="",
        )
        content = manifest.to_json()
        self.previous = sha256_hex(content)
        self.store.create(processed_manifest_path(1, self.batch), content)

    def _write(self, name: str, keys: str, at: datetime, changed: Mapping[str, str]) -> StarFile:
        star, local = TOTESYS.tables[name], self.folder / "local.parquet"
        key = star.key_names[0]
        values = {c.name: _VALUES.get(c.type.name, "'1'") for c in star.columns}
        values |= {key: "key", **(changed if star.is_fact else {})}
        columns = ", ".join(
            f"cast({values[c.name]} as {c.type.name}) as {c.name}" for c in star.columns
        )
        self.engine.execute(
            f"copy (select {columns}, timestamptz '{at.isoformat()}' as valid_from,"
            f" 'upsert' as _op from ({keys}) as keys (key)) to '{local}' (format parquet)"
        )
        [(rows,)] = self.engine.execute(f"select count(*) from '{local}'").fetchall()
        path = f"generation=1/{name}/{self.batch:012d}.parquet"
        self.store.put(path, local)
        with local.open("rb") as content:
            digest = sha256()
            while block := content.read(1 << 20):
                digest.update(block)
        size = local.stat().st_size
        return StarFile(table=name, path=path, rows=rows, bytes=size, sha256=digest.hexdigest())


def publish(what: str, environment: Mapping[str, str], command: str = "") -> None:
    """Run a publication and print its seconds and memory."""
    began = time.monotonic()
    program = [sys.executable, "-m", "totes", "publish", *command.split()]
    child = subprocess.Popen(program, env={**os.environ, **environment}, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{what} ended with {child.returncode}")
    seconds, cpu = time.monotonic() - began, usage.ru_utime + usage.ru_stime
    print(f"| {what} | {seconds:.1f} | {cpu:.1f} | {usage.ru_maxrss / 1000:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--orders", type=int, default=1_000_000)
    orders = parser.parse_args().orders
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lake = Lake(folder)
        location = Lakehouse(f"sqlite:///{folder}/iceberg.db", str(folder / "iceberg"))
        environment = {
            "TOTES_HOME": str(folder),
            "TOTES_PROCESSED_URL": lake.store.url,
            "TOTES_ICEBERG_CATALOG": str(location.catalogue),
            "TOTES_ICEBERG_URL": location.url,
        }
        print("| publication | seconds | of one core | MB |\n|---|---|---|---|")
        dimensions = [star.name for star in TOTESYS.tables.values() if not star.is_fact]
        one = "select {}".format
        keys = {n: one("date '2022-11-03'" if n == "dim_date" else 1) for n in dimensions}
        lake.add(keys | {FACT: f"select range + 1 from range({orders})"})
        publish(f"{orders:,} orders, the first time", environment)
        lake.add({FACT: f"select {orders} + range + 1 from range(1000)"})
        publish("1,000 new orders", environment)
        lake.add({FACT: f"select {orders} - range from range(1000)"}, units_sold="2")
        publish("1,000 changes of the newest", environment)
        lake.add({FACT: f"select 1 + range * {orders // 1000} from range(1000)"}, units_sold="3")
        publish("1,000 changes, all over the table", environment)
        lake.add({FACT: f"select range + 1 from range({orders})"}, units_sold="4")
        publish(f"{orders:,} changes", environment)
        publish("nothing new", environment)
        for number in range(20):
            lake.add({FACT: f"select {orders} + {1001 + number}"})
        publish("20 batches of one new order", environment)
        publish("compact", environment, "compact")
        with location.open() as catalogue:
            table = catalogue.load_table((location.namespace, FACT))
            size = table.io.new_input(table.metadata_location)
            print(f"\n{len(size):,} bytes of metadata for {len(table.snapshots())} snapshots")


if __name__ == "__main__":
    main()
