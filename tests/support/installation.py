"""A whole platform on fresh databases and a fresh lake, driven as a person drives it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
from typer.testing import CliRunner, Result

from totes import failpoint
from totes.cli import app
from totes.config.settings import Dsn
from totes.demo.simulator import bulk
from totes.lake.folder import FolderStore
from totes.rates import Rates
from totes.source.catalogue import Scope
from totes.stages.runner import Done, Pipeline, run_once


@dataclass(frozen=True)
class Installation:
    """`owner` writes totesys; the platform reads it through `source` and owns `warehouse`."""

    owner: Dsn
    source: Dsn
    warehouse: Dsn
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)
    rates: Rates | None = None

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
            Scope(),
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

    def having(self, **settings: str) -> "Installation":
        """The same with other settings, without their prefix."""
        given = {f"TOTES_{name.upper()}": value for name, value in settings.items()}
        return replace(self, settings=self.settings | given)

    def filled(self, orders: int = 40) -> "Installation":
        """With so many sales orders in totesys."""
        bulk(self.owner, orders=orders)
        return self

    def totes(self, *arguments: str) -> Result:
        """What `totes` says to these arguments."""
        return CliRunner().invoke(app, arguments, env=self.environment)

    def with_rates(self) -> "Installation":
        """The same with exchange rates: of three currencies, new ones once a month."""
        today = date.today()  # noqa: DTZ011  the days of a file
        years = range(2022, today.year + 1)
        months = [date(year, month, 1) for year in years for month in range(1, 13)]
        lines = [f"{day},{1 + day.month / 100},0.8{day.month:02}" for day in months if day <= today]
        bundle = self.folder / "rates.csv"
        bundle.write_text("\n".join(["Date,USD,GBP", *reversed(lines), ""]))
        return replace(self, rates=Rates(None, bundle))

    def run(self) -> list[Done]:
        return list(run_once(self.pipeline))

    def change(self, statement: str) -> None:
        """Something happens in totesys."""
        with psycopg.connect(self.owner.reveal()) as connection:
            connection.execute(statement.encode())

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """The warehouse's answer; statements commit."""
        with psycopg.connect(self.warehouse.reveal()) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def state(self) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
        """All that the platform has: its lake's objects, and what the warehouse recorded."""
        objects = {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in self.folder.rglob("*")
            if path.is_file()
        }
        known = self.ask("SELECT to_regclass('totes.batches') IS NOT NULL")[0][0]
        return objects, self.ask("SELECT * FROM totes.batches ORDER BY 1") if known else []


@contextmanager
def at(name: str, action: Any) -> Iterator[None]:
    """Do something whenever the program reaches a failpoint."""
    failpoint.actions[name] = action
    try:
        yield
    finally:
        del failpoint.actions[name]
