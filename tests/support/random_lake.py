"""Random batches of all tables of totesys: scanned, captured in full, or read from the log.

Rows have hostile values, tables lose columns and disappear for a while, and rejected rows are
released.
"""

from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

from hostile_lake import NUMBERS, RATE, TEXTS, TIMESTAMPS, HostileLake
from lake_reader import Line
from lake_writer import ROWS
from star_texts import EDGE_CASES

from totes.lake.manifest import RATES, Manifest
from totes.star.contract import MAX_TEXT_BYTES

KEYS = range(1, 7)

TABLES = (*ROWS, RATES)

REFERENCES = ("staff_id", "department_id", "legal_address_id", "design_id")

DROPPED = (
    *(("design", "file_name"), ("staff", "department_id"), ("department", "location")),
    *(("sales_order", "unit_price"), ("address", "city"), ("payment", "paid"), (RATES, "rate")),
)
"""Columns that models read."""

ABSENT = ("payment_type", "address", "design", "staff")

READ_FROM_THE_LOG = (*ROWS,)

UNREADABLE = (
    {"unreadable": "no text", "hex": "00ff"},
    {"unreadable": "division by zero"},
)


class RandomLake(HostileLake):
    """Only `tables` have rows; `live` are the keys of each after the newest batch."""

    def __init__(self, folder: Path, chance: Random, tables: Sequence[str] = TABLES) -> None:
        super().__init__(folder)
        self.chance = chance
        self.tables = tables
        self.live: dict[str, set[int]] = {table: set() for table in TABLES}
        self.dropped: set[tuple[str, str]] = set()
        self.absent: set[str] = set()

    def write(self, batches: int = 6) -> list[Manifest]:
        """Publish so many batches; after the last one, tables are complete again."""
        for number in range(1, batches + 1):
            self.publish(number, is_last=number == batches)
        return self.writer.batches

    def publish(self, number: int, *, is_last: bool) -> None:
        whole = {*self.tables} if number == 1 else self.alter(is_last=is_last)
        rows: dict[str, list[Line]] = {}
        deletes: dict[str, list[Any]] = {}
        log: dict[str, list[Line]] = {}
        for table in self.tables:
            if table in self.absent:
                continue
            if table in whole or self.chance.random() < 0.35:
                upserted, deleted = self.scan(table)
                keys = self.live[table] if table in whole else upserted
                rows[table] = [self.line(table, key) for key in sorted(keys)]
                deletes[table] = [self.key(table, key) for key in deleted]
            elif table in READ_FROM_THE_LOG and self.chance.random() < 0.4:
                log[table] = [*self.transactions(table, number)]
                self.chance.shuffle(log[table])
        if self.chance.random() < 0.2:
            deletes.setdefault("design", []).append(self.chance.choice(EDGE_CASES))
        self.add(
            rows,
            deletes={table: keys for table, keys in deletes.items() if table not in log},
            log=log,
            whole=whole,
            released=self.released(number),
            absent=sorted(self.absent),
            parts=self.chance.choice((1, 1, 3)),
        )

    def alter(self, *, is_last: bool) -> set[str]:
        """Drop and restore columns and tables; return the tables that are captured in full."""
        whole = {table for table in self.tables if self.chance.random() < 0.04}
        for column in sorted(self.dropped):
            if is_last or self.chance.random() < 0.4:
                self.dropped.discard(column)
                table, name = column
                self.writer.columns[table].append(name)
                whole.add(table)
        for table in sorted(self.absent):
            if is_last or self.chance.random() < 0.5:
                self.absent.discard(table)
                whole.add(table)
        if not is_last and self.chance.random() < 0.25:
            table, name = self.chance.choice(DROPPED)
            if table in {*self.tables} - self.absent and (table, name) not in self.dropped:
                self.dropped.add((table, name))
                self.writer.columns[table].remove(name)
                whole.add(table)
        if not is_last and self.chance.random() < 0.1:
            self.absent |= {self.chance.choice(ABSENT)} & {*self.tables}
        if self.chance.random() < 0.2:
            self.chance.shuffle(self.writer.columns[self.chance.choice(TABLES)])
        return whole - self.absent

    def released(self, number: int) -> tuple[int, ...]:
        if number == 1 or self.chance.random() < 0.7:
            return ()
        earlier = range(1, number)
        return tuple(sorted(self.chance.sample(earlier, min(2, len(earlier)))))

    def scan(self, table: str) -> tuple[set[int], set[int]]:
        """Change live keys; return those that are written, and those that are deleted."""
        upserted = {*self.chance.sample(KEYS, self.chance.randint(0, len(KEYS)))}
        gone = {key for key in self.live[table] - upserted if self.chance.random() < 0.2}
        self.live[table] = self.live[table] - gone | upserted
        return upserted, gone

    def transactions(self, table: str, number: int) -> Iterator[Line]:
        """Yield the lines of random transactions."""
        end = self.writer.captured_at(number)
        first = self.writer.captured_at(number - 1) + timedelta(microseconds=1)
        moments = {end, first, *(first + timedelta(microseconds=n) for n in (1, 77, 4_000))}
        for at in sorted(self.chance.sample(sorted(moments), self.chance.randint(1, 4))):
            for sequence in range(1, self.chance.randint(2, 6)):
                key = self.chance.choice(KEYS)
                if key in self.live[table] and self.chance.random() < 0.3:
                    self.live[table].discard(key)
                    yield self.writer.delete(table, at, sequence, self.key(table, key))
                else:
                    self.live[table].add(key)
                    values = self.line(table, key)
                    yield {**self.writer.upsert(table, at, sequence), **values}

    def key(self, table: str, key: int) -> Any:
        return f"2026-01-0{key} GBP" if table == RATES else key

    def line(self, table: str, key: int) -> Line:
        """Return a row with this key, of which some values are hostile."""
        name = self.writer.keys[table][0]
        day = {"rate_date": f"2026-01-0{key}"} if table == RATES else {}
        line = {**(RATE if table == RATES else self.many(table, key)), **day}
        for column in line:
            if column in REFERENCES:
                line[column] = self.chance.choice(KEYS)
            elif self.chance.random() < 0.04:
                line[column] = self.hostile_value()
        return {**line, name: self.key(table, key)}

    def hostile_value(self) -> Any:
        kind = self.chance.choices(
            (TEXTS, EDGE_CASES, NUMBERS, TIMESTAMPS, UNREADABLE, (None,)), (4, 4, 3, 3, 2, 2)
        )[0]
        long = self.chance.random() < 0.01
        return "x" * (MAX_TEXT_BYTES + 1) if long else self.chance.choice(kind)
