"""`make spark-demo`: replay a lake on a cluster of Spark, and compare it with DuckDB's rows.

Embedded PostgreSQL servers have a simulated business and a warehouse. `totes run` writes a lake of
several batches, with deletions and rejected rows, by DuckDB. A master of Spark and two workers, on
loopback, then replay it into a second generation, which is loaded and verified. The last line says
whether both generations have the same rows; the exit code is 1 if they don't.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
from generations import Comparison, Generation, compare
from spark_cluster import LOOPBACK, NoJavaError, standalone_cluster

from totes.config.dsn import Dsn
from totes.demo.simulator import bulk
from totes.embedded.servers import (
    prepare_source,
    prepare_warehouse,
    source_server,
    warehouse_server,
)
from totes.lake.folder import FolderStore
from totes.lake.manifests import find_current_generation

CHANGES = (
    """
    UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id % 10 = 3;
    UPDATE payment SET payment_id = payment_id + 10000000 WHERE payment_id % 50 = 7;
    UPDATE department SET location = E'tab\\tand "quotes" \\u2028 é' WHERE department_id = 2;
    DELETE FROM payment WHERE payment_id % 97 = 0;
    """,
    """
    UPDATE sales_order SET agreed_delivery_date = (ARRAY['2024-02-30', 'soon', '2024-1-1', '', ' ',
        'infinity', '20240101', '2201-01-01'])[1 + sales_order_id / 20 % 8]
        WHERE sales_order_id % 20 = 4;
    UPDATE design SET design_name = repeat('wide ', 1000) WHERE design_id % 10 = 0;
    UPDATE currency SET currency_code = 'XQQ' WHERE currency_id = 3;
    """,
    """
    UPDATE sales_order SET agreed_delivery_date = '2030-01-01' WHERE sales_order_id % 40 = 4;
    UPDATE currency SET currency_code = 'EUR' WHERE currency_id = 3;
    UPDATE address SET phone = phone || 'x' WHERE address_id % 2 = 0;
    """,
)
"""Changes of the business; each is a batch."""


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--orders", type=int, default=10_000, help="number of sales orders")
    orders = parser.parse_args().orders
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:5.0f} s  {text}", flush=True)  # noqa: T201

    with TemporaryDirectory(prefix="totes-spark-") as folder:
        try:
            comparison = replay_on_spark(Path(folder), orders, say)
        except NoJavaError as error:
            say(str(error))
            return 2
        except subprocess.CalledProcessError as error:
            say(f"failed: totes {' '.join(error.cmd[3:])}")
            return 1
    if comparison.differences:
        say(f"not equal to DuckDB:\n{comparison}")
        return 1
    say(f"equal to DuckDB: {comparison.rows:,} rows")
    return 0


def replay_on_spark(folder: Path, orders: int, say: Callable[[str], None]) -> Comparison:
    """Write a lake, replay it on a cluster, and return how both generations compare."""
    with source_server(folder) as source_at, warehouse_server(folder) as warehouse_at:
        source, warehouse = prepare_source(source_at.dsn), prepare_warehouse(warehouse_at.dsn)
        environment = {
            "TOTES_HOME": str(folder / "home"),
            "TOTES_SOURCE_DSN": source.reader.reveal(),
            "TOTES_WAREHOUSE_DSN": warehouse.loader.reveal(),
        }
        say(f"a business with {orders:,} sales orders")
        bulk(source.owner, orders=orders, seed=1)
        say("the lake, by DuckDB: one batch of all rows, and three of changes")
        run(environment, "run", "--once")
        for change in CHANGES:
            execute(source.owner, change)
            run(environment, "run", "--once")
        run(environment, "quarantine", "release")
        run(environment, "run", "--once")
        processed = FolderStore(folder / "home/lake/processed")
        by_duckdb = Generation(processed, find_current_generation(processed))
        say("a master and two workers of Spark")
        with standalone_cluster(folder / "spark") as master:
            say(f"replay on {master}")
            run(
                {**environment, **LOOPBACK, "TOTES_SPARK_MASTER": master},
                *("replay", "--engine", "spark"),
            )
        by_spark = Generation(processed, find_current_generation(processed))
        if by_spark == by_duckdb:
            raise RuntimeError("The replay has not made another generation.")
        say("the warehouse that was loaded from it, against the source")
        run(environment, "verify")
    say("the rows of both engines, batch by batch")
    return compare(by_duckdb, by_spark)


def run(environment: Mapping[str, str], *arguments: str) -> None:
    """Run a command of totes, which must succeed; its output is that of this process."""
    subprocess.run(
        [sys.executable, "-m", "totes", *arguments], env=os.environ | environment, check=True
    )


def execute(database: Dsn, statements: str) -> None:
    with psycopg.connect(database.reveal()) as connection:
        connection.execute(statements.encode())


if __name__ == "__main__":
    sys.exit(main())
