"""An installation of the platform with its own databases and lake."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
from copied_orders import fill
from typer.testing import CliRunner, Result

from totes import failpoint
from totes.cli import app
from totes.config.dsn import Dsn
from totes.config.resources import Resources
from totes.config.settings import Settings
from totes.lake.folder import FolderStore
from totes.rates import RateFeed
from totes.source.catalogue import CaptureScope
from totes.stages.runner import Pipeline, StepResult, run_once

LAST_DAY = date(2022, 11, 8)
"""A Tuesday, the day of the last orders of `add_orders`."""


@dataclass(frozen=True)
class Installation:
    """`owner` can write to the source, `source` can only read it; `warehouse` is the loader's."""

    owner: Dsn
    source: Dsn
    warehouse: Dsn
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    rates: RateFeed | None = None

    @property
    def ingestion(self) -> Path:
        return self.folder / "ingestion"

    @property
    def processed(self) -> Path:
        return self.folder / "processed"

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(
            self.source,
            CaptureScope(),
            FolderStore(self.ingestion),
            FolderStore(self.processed),
            self.warehouse,
            self.rates,
        )

    @property
    def environment(self) -> dict[str, str]:
        return {
            "TOTES_HOME": str(self.folder / "home"),
            "TOTES_SOURCE_DSN": self.source.reveal(),
            "TOTES_WAREHOUSE_DSN": self.warehouse.reveal(),
            "TOTES_INGESTION_URL": str(self.ingestion),
            "TOTES_PROCESSED_URL": str(self.processed),
            "TOTES_RATES": "off",
            "COLUMNS": "200",
            **self.settings,
        }

    def with_settings(self, **settings: str) -> "Installation":
        """Return a copy with these settings, named without their prefix."""
        variables = {f"TOTES_{name.upper()}": value for name, value in settings.items()}
        return replace(self, settings=self.settings | variables)

    def add_orders(self, orders: int = 40) -> "Installation":
        """Add sales orders, and what they refer to, to the source; return self."""
        fill(self.owner, orders=orders, last_day=LAST_DAY)
        return self

    def add_orders_of_twenty_days(self) -> "Installation":
        """Add 40 sales orders, two on each of the days up to 8 November 2022; return self."""
        last = "timestamp '2022-11-08 09:00'"
        self.add_orders(40).change(
            f"UPDATE purchase_order SET created_at = {last} - interval '30 days';"
            f"UPDATE sales_order SET created_at = {last} - (sales_order_id % 20) * interval '1 day'"
        )
        return self

    def totes(self, *arguments: str) -> Result:
        """Run the command `totes` with these arguments."""
        return CliRunner().invoke(app, arguments, env=self.environment)

    def with_rates(self) -> "Installation":
        """Return a copy with exchange rates of two currencies, published once a month."""
        today = date.today()  # noqa: DTZ011  the file has dates
        years = range(2022, today.year + 1)
        months = [date(year, month, 1) for year in years for month in range(1, 13)]
        lines = [f"{day},{1 + day.month / 100},0.8{day.month:02}" for day in months if day <= today]
        bundle = self.folder / "rates.csv"
        bundle.write_text("\n".join(["Date,USD,GBP", *reversed(lines), ""]))
        return replace(self, rates=RateFeed(None, bundle))

    def run(self) -> list[StepResult]:
        """Run all stages once; from the log if the settings say so."""
        if "TOTES_CAPTURE" not in self.settings:
            return list(run_once(self.pipeline))
        with self.resources() as resources:
            return list(run_once(resources.pipeline))

    def resources(self) -> Resources:
        """Return what the settings lead to, for a `with` block."""
        values: dict[str, Any] = {
            name.removeprefix("TOTES_").lower(): value
            for name, value in self.environment.items()
            if name.startswith("TOTES_")
        }
        return Resources(Settings(**values))

    def change(self, statement: str) -> None:
        """Execute a statement in the source."""
        with psycopg.connect(self.owner.reveal()) as connection:
            connection.execute(statement.encode())

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query of the warehouse, which can't change it."""
        with psycopg.connect(self.warehouse.reveal()) as connection:
            connection.read_only = True
            return connection.execute(statement.encode()).fetchall()

    def change_warehouse(self, statement: str) -> None:
        """Execute a statement in the warehouse."""
        with psycopg.connect(self.warehouse.reveal()) as connection:
            connection.execute(statement.encode())

    def state(self) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
        """Return the digests of all files in the lake, and the batches in the warehouse."""
        objects = {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.folder.rglob("*")
            if path.is_file()
        }
        has_tables = self.query("SELECT to_regclass('totes.batches') IS NOT NULL")[0][0]
        return objects, self.query("SELECT * FROM totes.batches ORDER BY 1") if has_tables else []


@contextmanager
def at(name: str, action: Any) -> Iterator[None]:
    """Run `action` whenever the program reaches the fail point `name`."""
    failpoint.actions[name] = action
    try:
        yield
    finally:
        del failpoint.actions[name]
