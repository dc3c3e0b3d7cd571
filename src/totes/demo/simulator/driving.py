"""Writes business events to a totesys, one after another, each in its own transaction."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from random import Random
from time import monotonic
from types import TracebackType
from typing import Self

import psycopg
from psycopg import sql

from totes.config.dsn import Dsn
from totes.demo.simulator.actions import ACTIONS, Writer, brief
from totes.demo.simulator.business import (
    SALE,
    USUAL,
    Kind,
    Mix,
    PlannedEvent,
    ReferenceIds,
    is_weekday,
    plan_events,
)
from totes.demo.simulator.filling import connect, script, seed_reference
from totes.demo.simulator.reference import FIRST_ROW_AT
from totes.errors import UsageError

MAX_LATE_TRANSACTIONS = 3
"""The most late transactions that are open at the same time."""

type Clock = Callable[[], datetime]
"""Returns the current time in UTC without a time zone, as the columns of totesys have it."""


def wall_clock() -> datetime:
    """Return the current time in UTC, in milliseconds."""
    now = datetime.now(UTC).replace(tzinfo=None)
    return now.replace(microsecond=now.microsecond // 1000 * 1000)


@dataclass(frozen=True)
class Change:
    """A row that an event inserted, updated or deleted."""

    table: str
    key: int


@dataclass(frozen=True)
class Event:
    """An event at the time `at` of the business's clock; without changes, nothing was committed.

    A LATE transaction has two events: when it begins, without changes, and when it commits.
    """

    kind: Kind
    at: datetime
    text: str
    changes: tuple[Change, ...]

    @property
    def table(self) -> str | None:
        """The table of the first changed row."""
        return self.changes[0].table if self.changes else None

    @property
    def key(self) -> int | None:
        """The id of the first changed row."""
        return self.changes[0].key if self.changes else None


@dataclass
class _LateTransaction:
    """A transaction that has written rows and will commit after `steps` more events."""

    writer: Writer
    text: str
    steps: int


class Simulator:
    """A simulated business. The same seed on the same database makes the same changes.

    First it fills empty reference tables. Events are planned from `start` or the newest order on,
    in office hours, and each happens at its planned time. With `clock`, no event is later than the
    clock: an event that is planned later happens at the clock's time, at night and on weekends too.
    Without orders, the plan then starts at the clock's time.

    With `log`, each commit appends a line of JSON to that file:
    {"kind", "at", "text", "changes": [{"table", "key", "row"}]}. A row is PostgreSQL's
    row_to_json() at the commit, or null if the row was deleted. UsageError if it can't be written.
    """

    def __init__(  # noqa: PLR0913  options of the business
        self,
        dsn: Dsn,
        *,
        seed: int,
        mix: Mix = USUAL,
        start: datetime | None = None,
        clock: Clock | None = None,
        log: Path | None = None,
    ) -> None:
        self._dsn = dsn
        self._clock = clock
        self._random = Random(seed)  # noqa: S311  no secrets
        self._late: list[_LateTransaction] = []
        self._log = _create_log(log) if log else None
        self._connection = connect(dsn)
        try:
            if self._connection.execute("SELECT FROM currency LIMIT 1").fetchone() is None:
                seed_reference(self._connection, seed)
            self._reference_ids = _read_reference_ids(self._connection)
            self._last_at = (
                start or _read_newest_time(self._connection) or (clock() if clock else FIRST_ROW_AT)
            )
            self._plan = plan_events(self._random, self._last_at, mix)
            self._next: PlannedEvent | None = None
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
        """Commit the late transactions, and close all connections."""
        try:
            self.finish()
        finally:
            for connection in (self._connection, *(late.writer.connection for late in self._late)):
                connection.close()

    def finish(self) -> list[Event]:
        """Commit the late transactions; return their events."""
        return [self._commit_late(late) for late in list(self._late)]

    def run(
        self,
        *,
        rate: float | None = None,
        seconds: float | None = None,
        until: datetime | None = None,
        stop: threading.Event | None = None,
    ) -> Iterator[Event]:
        """Yield events as they happen: for `seconds`, those planned before `until`, or without end.

        `rate` is the number of events per second; None is as fast as possible. `stop` ends it
        between two events.
        """
        stop = stop or threading.Event()
        started = monotonic()
        for number in count():
            due = started + number / rate if rate else monotonic()
            if seconds is not None and max(due, monotonic()) - started >= seconds:
                return
            if stop.wait(max(0.0, due - monotonic())):
                return
            if (event := self._step(until)) is None:
                return
            yield event

    def step(self) -> Event:
        """Execute the next event and return it."""
        event = self._step(until=None)
        assert event is not None  # noqa: S101  the plan has no end
        return event

    def _step(self, until: datetime | None) -> Event | None:
        """Execute the next event and return it; None if it is planned at `until` or later."""
        if due := next((late for late in self._late if late.steps <= 0), None):
            event: Event | None = self._commit_late(due)
        else:
            event = self._execute_next(until)
        if event is not None:
            for late in self._late:
                late.steps -= 1
        return event

    def _execute_next(self, until: datetime | None) -> Event | None:
        """Execute planned events up to the first with something to do."""
        while True:
            planned = self._next or next(self._plan)
            if until is not None and planned.at >= until:
                self._next = planned
                return None
            self._next = None
            if event := self._execute(planned):
                return event

    def _execute(self, planned: PlannedEvent) -> Event | None:
        """Execute a planned event; return None if there was nothing to do."""
        if self._clock and (now := self._clock()) < planned.at:
            # Payments are made once a day, before orders.
            if is_weekday(now.date()) and now.date() > self._last_at.date():
                self._next = planned if planned.kind is not Kind.PAY else None
                planned = PlannedEvent(now, Kind.PAY)
            elif planned.kind is Kind.PAY:
                return None
            else:
                planned = replace(planned, at=now)
        self._last_at = planned.at
        if planned.kind is Kind.LATE:
            return self._begin_late(planned)
        writer = Writer(self._connection, self._random, planned.at, self._reference_ids)
        if planned.kind is Kind.BRIEF:
            return self._change_briefly(writer)
        text = ACTIONS[planned.kind](writer)
        if text is None or planned.kind is Kind.ROLLBACK:
            self._connection.rollback()
            if text is None:
                return None
            return Event(planned.kind, planned.at, f"{text}, rolled back", ())
        return self._commit(writer, planned.kind, text)

    def _change_briefly(self, writer: Writer) -> Event | None:
        """Change a sale silently, commit, change it back, and commit."""
        if (change := brief(writer)) is None:
            self._connection.rollback()
            return None
        text, order_id, before = change
        self._commit(writer, Kind.BRIEF, text)
        back = Writer(self._connection, self._random, writer.at, self._reference_ids)
        back.update(SALE.table, order_id, before)
        return self._commit(back, Kind.BRIEF, f"{text}, and changed it back")

    def _begin_late(self, planned: PlannedEvent) -> Event:
        if len(self._late) == MAX_LATE_TRANSACTIONS:
            return self._commit_late(self._late[0])
        writer = Writer(connect(self._dsn), self._random, planned.at, self._reference_ids)
        text = ACTIONS[Kind.LATE](writer) or ""
        self._late.append(_LateTransaction(writer, text, self._random.randint(2, 40)))
        return Event(Kind.LATE, planned.at, f"{text}, still open", ())

    def _commit_late(self, late: _LateTransaction) -> Event:
        event = self._commit(late.writer, Kind.LATE, f"{late.text}, committed late")
        self._late.remove(late)
        late.writer.connection.close()
        return event

    def _commit(self, writer: Writer, kind: Kind, text: str) -> Event:
        changes = tuple(Change(table, key) for table, key in writer.written_rows)
        images = [_read_image(writer.connection, change) for change in changes] if self._log else []
        if any(change.table in vars(self._reference_ids) for change in changes):
            self._reference_ids = _read_reference_ids(writer.connection)
        writer.connection.commit()
        event = Event(kind, writer.at, text, changes)
        if self._log:
            with self._log.open("a", encoding="utf-8") as log:
                log.write(_log_line(event, images))
        return event


def _create_log(log: Path) -> Path:
    """Create the log if it doesn't exist; raise UsageError if it can't be written."""
    try:
        log.open("a", encoding="utf-8").close()
    except OSError as error:
        raise UsageError(f"The log {log} can't be written: {error.strerror}.") from None
    return log


def _log_line(event: Event, images: list[str]) -> str:
    """Return the log's line of an event; images are inserted as text, to keep numbers exact."""
    head = {"kind": event.kind, "at": event.at.isoformat(sep=" "), "text": event.text}
    return f'{json.dumps(head, ensure_ascii=False)[:-1]}, "changes": [{", ".join(images)}]}}\n'


def _read_image(connection: psycopg.Connection, change: Change) -> str:
    query = script("image").format(
        table=sql.Identifier(change.table), id=sql.Identifier(f"{change.table}_id")
    )
    row = connection.execute(query, {"table": change.table, "key": change.key}).fetchone()
    assert row is not None  # noqa: S101  a SELECT without FROM
    return str(row[0])


def _read_reference_ids(connection: psycopg.Connection) -> ReferenceIds:
    row = connection.execute(script("reference_ids")).fetchone()
    assert row is not None  # noqa: S101  a SELECT without FROM
    *tables, currencies = row
    design, staff, counterparty, address, department = map(tuple, tables)
    return ReferenceIds(
        design=design,
        staff=staff,
        counterparty=counterparty,
        address=address,
        department=department,
        currency={int(key): code for key, code in currencies.items()},
    )


def _read_newest_time(connection: psycopg.Connection) -> datetime | None:
    """Return when the newest order was created; None without orders."""
    row = connection.execute(script("newest")).fetchone()
    return row[0] if row else None
