"""Check the alert rules and the report's schedule, and send what is new or due."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
from psycopg import Connection

from totes.alert import AlertTargets
from totes.config.dsn import Dsn
from totes.config.settings import Settings
from totes.dashboard.config_file import AlertRule, ConfigFile, Schedule, load_config
from totes.dashboard.reading import Reading, open_reading
from totes.dashboard.replica import open_replica, replica_folder
from totes.errors import TotesError, WarehouseError
from totes.notifications.alert_rules import Result, check_rules, record, recorded, try_lock
from totes.notifications.report import Report, compose
from totes.notifications.schedule import last_due, send_if_due, senders
from totes.warehouse.connection import connect
from totes.warehouse.schema import check_migrations, has_tables


@dataclass(frozen=True)
class Notifications:
    """The settings of alerts and reports; `warehouse` has the loader's role.

    They have a replica of their own, which is open only during a check: several processes share it.
    """

    settings: Settings
    warehouse: Dsn
    targets: AlertTargets

    @property
    def config(self) -> ConfigFile:
        """The configuration file as it is now; UsageError if it is invalid."""
        return load_config(self.settings.dashboard_file)

    def evaluate(self) -> list[Result]:
        """Return the result of each rule now, with the time since when its state is recorded.

        Raises WarehouseError if the warehouse or its replica can't be used.
        """
        with self._connect() as connection:
            results = self._check(self.config.alert, connection)
            before = {(one.rule, one.state): one.since for one in recorded(connection)}
        return [replace(one, since=before.get((one.rule, one.state))) for one in results]

    def check(self) -> None:
        """Check the rules, send alerts and a report that is due, and record both.

        Does nothing before the first batch, or if another process is doing so. Raises TotesError.
        """
        config = self.config
        if not config.alert and config.report is None:
            return
        with connect(self.warehouse) as connection:
            if not _has_batch(connection):
                return
            check_migrations(connection)
            with connection.transaction():
                if not try_lock(connection):
                    return
                results = self._check(config.alert, connection)
                record(connection, results, self.targets, self.settings.dashboard_url)
            if config.report is not None:
                self._send_if_due(config.report, connection)

    def compose_report(self, schedule: Schedule) -> Report:
        """Return the report of the last due time.

        Raises WarehouseError if the warehouse or its replica can't be used.
        """
        with self._connect() as connection:
            return self._compose(schedule, connection, self._due(schedule))

    def _send_if_due(self, schedule: Schedule, connection: Connection[Any]) -> None:
        """Send by mail and to the topic; if one of the two fails, only that one is repeated."""
        due, failure = self._due(schedule), None
        for way, send in senders(schedule, self.settings).items():
            compose_and_send = partial(self._compose_and_send, send, schedule, connection, due)
            try:
                with connection.transaction():
                    if try_lock(connection):
                        name = f"{schedule.schedule} by {way}"
                        send_if_due(connection, name, due, compose_and_send)
            except TotesError as error:
                failure = error
        if failure:
            raise failure

    def _compose_and_send(
        self,
        send: Callable[[Report], None],
        schedule: Schedule,
        connection: Connection[Any],
        due: datetime,
    ) -> None:
        send(self._compose(schedule, connection, due))

    def _due(self, schedule: Schedule) -> datetime:
        name = self.settings.dashboard_time_zone
        return last_due(schedule, datetime.now(UTC), UTC if name == "UTC" else ZoneInfo(name))

    def _check(self, rules: tuple[AlertRule, ...], connection: Connection[Any]) -> list[Result]:
        if not rules:
            return []
        with self._open_reading() as reading:
            return check_rules(rules, reading, connection, self.settings.dashboard_currency)

    def _compose(self, schedule: Schedule, connection: Connection[Any], due: datetime) -> Report:
        with self._open_reading() as reading:
            return compose(
                reading,
                schedule.schedule,
                due.date(),
                currency=schedule.reporting or self.settings.dashboard_currency,
                company=self.settings.dashboard_company,
                alerts=recorded(connection),
                dashboard_url=self.settings.dashboard_url,
            )

    @contextmanager
    def _connect(self) -> Iterator[Connection[Any]]:
        with connect(self.warehouse) as connection:
            check_migrations(connection)
            yield connection

    @contextmanager
    def _open_reading(self) -> Iterator[Reading]:
        folder = replica_folder(self.settings.home, self.warehouse)
        memory_mb = self.settings.dashboard_memory
        with open_replica(folder, self.warehouse, memory_mb=memory_mb, wait=True) as replica:
            try:
                replica.refresh()
            except duckdb.Error as error:
                raise WarehouseError(f"The replica can't be written: {error}") from error
            with open_reading(replica) as reading:
                yield reading


def _has_batch(connection: Connection[Any]) -> bool:
    return has_tables(connection) and bool(
        connection.execute("SELECT FROM totes.batches LIMIT 1").fetchall()
    )
