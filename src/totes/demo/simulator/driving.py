"""Drives a totesys: one business event after the other, each in a transaction of its own."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from totes.config.settings import Dsn
from totes.demo.simulator.actions import ACTIONS, Work, script
from totes.demo.simulator.business import USUAL, Kind, Known, Mix, Planned, history
from totes.demo.simulator.filling import connect, seed_reference
from totes.demo.simulator.reference import FOUNDED
from totes.errors import UsageError

OPEN_AT_MOST = 3
"""Late transactions at a time."""


@dataclass(frozen=True)
class Change:
    """A row that an event inserted, updated or deleted."""

    table: str
    key: int


@dataclass(frozen=True)
class Event:
    """What just happened at the business's time `at`; without changes, nothing was committed.

    LATE comes twice: when the transaction opens, without changes, and when it commits.
    """

    kind: Kind
    at: datetime
    text: str
    changes: tuple[Change, ...]

    @property
    def table(self) -> str | None:
        """Table of the first row that was changed."""
        return self.changes[0].table if self.changes else None

    @property
    def key(self) -> int | None:
        """Id of the first row that was changed."""
        return self.changes[0].key if self.changes else None


@dataclass
class _Open:
    """A transaction that has written and will commit after `steps` more."""

    work: Work
    text: str
    steps: int


class Simulator:
    """A business at work. The same seed on the same database makes the same history.

    It seeds empty reference tables first. Its clock is the business's own: it starts at `start`,
    or after the newest order, and goes from event to event. With `log`, a line of JSON is added
    for each commit: {"kind", "at", "text", "changes": [{"table", "key", "row"}]}, where a row is
    PostgreSQL's row_to_json as of the commit, and null if it was deleted.
    """

    def __init__(
        self,
        dsn: Dsn,
        *,
        seed: int,
        mix: Mix = USUAL,
        start: datetime | None = None,
        log: Path | None = None,
    ) -> None:
        self._dsn = dsn
        self._random = Random(seed)  # noqa: S311  a game, no secrets
        self._open: list[_Open] = []
        self._log = _writable(log) if log else None
        self._connection = connect(dsn)
        try:
            if self._connection.execute("SELECT FROM currency LIMIT 1").fetchone() is None:
                seed_reference(self._connection, seed)
            self._known = _known(self._connection)
            self._plan = history(self._random, start or _newest(self._connection), mix)
            self._connection.commit()
        except psycopg.Error:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Commit what is still open, and leave."""
        try:
            self.finish()
        finally:
            for connection in (self._connection, *(late.work.connection for late in self._open)):
                connection.close()

    def finish(self) -> list[Event]:
        """Commit the late transactions that are still open."""
        return [self._commit_late(late) for late in list(self._open)]

    def run(
        self,
        *,
        rate: float | None = None,
        seconds: float | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[Event]:
        """Events as they happen: `rate` a second or as fast as can be, for `seconds` or always.

        Setting `stop` ends it at once, between two events.
        """
        stop = stop or threading.Event()
        started = monotonic()
        for number in count():
            due = started + number / rate if rate else monotonic()
            if seconds is not None and max(due, monotonic()) - started >= seconds:
                return
            if stop.wait(max(0.0, due - monotonic())):
                return
            yield self.step()

    def step(self) -> Event:
        """The next business event, done and committed."""
        for late in self._open:
            late.steps -= 1
        if due := next((late for late in self._open if late.steps <= 0), None):
            return self._commit_late(due)
        return next(event for event in map(self._perform, self._plan) if event is not None)

    def _perform(self, planned: Planned) -> Event | None:
        """None where there was nothing to do."""
        if planned.kind is Kind.LATE:
            return self._begin_late(planned)
        work = Work(self._connection, self._random, planned.at, self._known)
        text = ACTIONS[planned.kind](work)
        if text is None or planned.kind is Kind.ROLLBACK:
            self._connection.rollback()
            if text is None:
                return None
            return Event(planned.kind, planned.at, f"{text}, rolled back", ())
        return self._commit(work, planned.kind, text)

    def _begin_late(self, planned: Planned) -> Event:
        if len(self._open) == OPEN_AT_MOST:
            return self._commit_late(self._open[0])
        work = Work(connect(self._dsn), self._random, planned.at, self._known)
        text = ACTIONS[Kind.LATE](work) or ""
        self._open.append(_Open(work, text, self._random.randint(2, 40)))
        return Event(Kind.LATE, planned.at, f"{text}, still open", ())

    def _commit_late(self, late: _Open) -> Event:
        event = self._commit(late.work, Kind.LATE, f"{late.text}, committed late")
        self._open.remove(late)
        late.work.connection.close()
        return event

    def _commit(self, work: Work, kind: Kind, text: str) -> Event:
        changes = tuple(Change(table, key) for table, key in work.touched)
        images = [_image(work.connection, change) for change in changes] if self._log else []
        if any(change.table in vars(self._known) for change in changes):
            self._known = _known(work.connection)
        work.connection.commit()
        event = Event(kind, work.at, text, changes)
        if self._log:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(_line(event, images))
        return event


def _writable(log: Path) -> Path:
    """The log, begun if need be; UsageError before there is anything to log."""
    try:
        log.open("a", encoding="utf-8").close()
    except OSError as error:
        raise UsageError(f"The log {log} can't be written: {error.strerror}.") from None
    return log


def _line(event: Event, images: list[str]) -> str:
    """The images are spliced in as they are: a float would not hold every number."""
    head = {"kind": event.kind, "at": event.at.isoformat(sep=" "), "text": event.text}
    return f'{json.dumps(head, ensure_ascii=False)[:-1]}, "changes": [{", ".join(images)}]}}\n'


def _image(connection: psycopg.Connection, change: Change) -> str:
    query = script("image").format(
        table=sql.Identifier(change.table), id=sql.Identifier(f"{change.table}_id")
    )
    row = connection.execute(query, {"table": change.table, "key": change.key}).fetchone()
    assert row is not None  # noqa: S101  a SELECT without FROM
    return str(row[0])


def _known(connection: psycopg.Connection) -> Known:
    row = connection.execute(script("known")).fetchone()
    assert row is not None  # noqa: S101  a SELECT without FROM
    *tables, currencies = row
    design, staff, counterparty, address, department = map(tuple, tables)
    return Known(
        design=design,
        staff=staff,
        counterparty=counterparty,
        address=address,
        department=department,
        currency={int(key): code for key, code in currencies.items()},
    )


def _newest(connection: psycopg.Connection) -> datetime:
    """When the business stopped: at the newest deal."""
    newest = connection.execute(script("newest")).fetchone()
    return newest[0] if newest else FOUNDED
