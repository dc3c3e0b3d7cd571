"""Random transactions on a few orders and designs, published as batches of any kind.

The expected star is computed from the list of all states, one row after another.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from lake_reader import Line
from lake_writer import ROWS, LakeWriter, row

from totes.lake.folder import FolderStore
from totes.stages.transform import write_generation
from totes.star.folder import TOTESYS
from totes.star.models import Models

BAD_DATE = "2022/11/10"
"""A value that the packaged models reject and corrected ones accept."""

ORDERS, DESIGNS = range(1, 6), range(1, 7)
TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Order:
    """A state of an order."""

    units: int
    design: int
    is_valid: bool

    @property
    def values(self) -> dict[str, Any]:
        day = "2022-11-10" if self.is_valid else BAD_DATE
        return {
            "units_sold": self.units,
            "design_id": self.design,
            "agreed_delivery_date": day,
        }


@dataclass(frozen=True)
class Design:
    """A state of a design."""

    name: str

    @property
    def values(self) -> dict[str, Any]:
        return {"design_name": self.name}


type State = Order | Design | None
"""None is a deletion."""

type Key = tuple[str, int]
"""A source table and the key of a row."""

type Version = tuple[int, Order, datetime, datetime | None]
"""Order, state, valid_from, valid_to."""


@dataclass
class Transaction:
    """One random transaction, whose lines are added to `lines` of the tables in it."""

    history: "RandomHistory"
    at: datetime
    lines: dict[str, list[Line]]
    sequence: int = 0
    states: dict[Key, State] = field(default_factory=dict)

    def run(self) -> dict[Key, State]:
        """Return the state of each written key at the end."""
        weights = {
            self.write_order: 16,
            self.delete_order: 3,
            self.change_key: 3,
            self.write_design: 5,
            self.delete_design: 2,
            self.truncate: 0.5,
        }
        for _ in range(self.chance.randint(1, 6)):
            [step] = self.chance.choices([*weights], [*weights.values()])
            step()
        return self.states

    @property
    def chance(self) -> Random:
        return self.history.chance

    def write(self, key: Key, state: State, *, same_place: bool = False) -> None:
        self.sequence += 0 if same_place else self.chance.randint(1, 3)
        (table, number), writer = key, self.history.writer
        if state is None:
            del self.history.live[key]
            line = writer.delete(table, self.at, self.sequence, number)
        else:
            self.history.live[key] = state
            values = {f"{table}_id": number, **state.values}
            line = writer.upsert(table, self.at, self.sequence, **values)
        if table in self.lines:
            self.lines[table].append(line)
        self.states[key] = state

    def write_order(self) -> None:
        designs = [number for table, number in self.history.live if table == "design"]
        if designs:
            key = "sales_order", self.chance.choice(ORDERS)
            units, is_valid = self.chance.randint(1, 2), self.chance.random() < 0.75
            self.write(key, Order(units, self.chance.choice(designs), is_valid))

    def delete_order(self) -> None:
        if orders := self.orders():
            self.write(self.chance.choice(list(orders)), None)

    def change_key(self) -> None:
        orders, key = self.orders(), ("sales_order", self.chance.choice(ORDERS))
        if orders and key not in orders:
            old = self.chance.choice(list(orders))
            self.write(old, None)
            self.write(key, orders[old], same_place=self.chance.random() < 0.5)

    def truncate(self) -> None:
        self.sequence += 1
        for key in self.orders():
            self.write(key, None, same_place=True)

    def write_design(self) -> None:
        key = "design", self.chance.choice(DESIGNS)
        self.write(key, Design(self.chance.choice("AB")))

    def delete_design(self) -> None:
        key = "design", self.chance.choice(DESIGNS)
        if key in self.history.live:
            for order, state in self.orders().items():
                if state.design == key[1]:
                    self.write(order, None)
            self.write(key, None)

    def orders(self) -> dict[Key, Order]:
        live = self.history.live.items()
        return {key: state for key, state in live if isinstance(state, Order)}


@dataclass
class RandomHistory:
    """`seen` are the states that batches contain: key, number of the batch, moment, state."""

    chance: Random
    writer: LakeWriter
    live: dict[Key, Order | Design] = field(default_factory=dict)
    seen: list[tuple[Key, int, datetime, State]] = field(default_factory=list)

    def publish(self) -> None:
        """Run transactions, and publish a batch that reads each table from the log or by a scan."""
        number = len(self.writer.batches) + 1
        of_log = self.chance.choice(
            ((), ("sales_order",), ("design",), *[("sales_order", "design")] * 3)
        )
        before = dict(self.live)
        lines: dict[str, list[Line]] = {table: [] for table in of_log}
        for at in self._moments(number):
            states = Transaction(self, at, lines).run()
            self.seen += [
                (key, number, at, state) for key, state in states.items() if key[0] in of_log
            ]
        for table_lines in lines.values():
            self.chance.shuffle(table_lines)
        rows: dict[str, list[Line]] = {}
        deletes: dict[str, list[int]] = {}
        captured_at = self.writer.captured_at(number)
        for key in sorted(before.keys() | self.live.keys()):
            table, number_of_row = key
            state = self.live.get(key)
            if table in of_log or (state == before.get(key) and self.chance.random() < 0.9):
                continue
            self.seen.append((key, number, captured_at, state))
            if state is None:
                deletes.setdefault(table, []).append(number_of_row)
            else:
                line = row(table, **{f"{table}_id": number_of_row}, **state.values)
                rows.setdefault(table, []).append(line)
        self.writer.add(rows, deletes=deletes, log=lines)

    def _moments(self, number: int) -> list[datetime]:
        """Return the moments of a batch's transactions, also the first and the last possible."""
        first, last = (self.writer.captured_at(number - 1) + TICK, self.writer.captured_at(number))
        between = [first + n * TICK for n in self.chance.sample(range(1, 999_999), 8)]
        moments = {first, first + TICK, *between, last - TICK, last}
        return sorted(self.chance.sample(sorted(moments), self.chance.randint(3, 12)))

    # What the star must have

    def designs(self) -> dict[int, tuple[str, bool]]:
        """Return the name of each design in the star, and whether it is recorded as deleted."""
        found: dict[int, tuple[str, bool]] = {}
        for (table, key), _, _, state in self._by_time():
            if table == "design" and isinstance(state, Design):
                found[key] = state.name, False
            elif table == "design" and key in found:
                found[key] = found[key][0], True
        return found

    def versions(self, corrected: Collection[int]) -> list[Version]:
        """Return the versions of all orders in the star.

        `corrected` are the batches of which invalid states are accepted, too. A state that refers
        to a design that is not in the star is not accepted.
        """
        return sorted(
            (
                version
                for order in ORDERS
                for version in self._versions_of(("sales_order", order), corrected)
            ),
            key=lambda version: (version[0], version[2]),
        )

    def _versions_of(self, key: Key, corrected: Collection[int]) -> Iterator[Version]:
        designs = self.designs()
        current: tuple[Order, datetime] | None = None
        rejected_since = False
        for other, batch, at, state in self._by_time():
            if other != key or isinstance(state, Design):
                continue
            if state is not None and (
                state.design not in designs or not (state.is_valid or batch in corrected)
            ):
                rejected_since = True
                continue
            accepted = state and replace(state, is_valid=True)  # in the star it looks the same
            if current and current[0] == accepted and not rejected_since:
                continue
            if current:
                yield key[1], current[0], current[1], at
            current, rejected_since = (accepted, at) if accepted else None, False
        if current:
            yield key[1], current[0], current[1], None

    def _by_time(self) -> list[tuple[Key, int, datetime, State]]:
        return sorted(self.seen, key=lambda event: event[2])


class Transformed(NamedTuple):
    """The processed store `processed` has all batches of a history so far.

    `corrected` are the batches whose invalid states are accepted, `models` the current models.
    """

    history: RandomHistory
    processed: FolderStore
    corrected: frozenset[int]
    models: Models


def transform_random_batches(
    chance: Random, folder: Path, corrected_models: Models, steps: int
) -> Iterator[Transformed]:
    """Publish random batches and releases below `folder`; yield whenever they are transformed.

    The models are corrected at some step; finally all batches are released.
    """
    history = RandomHistory(chance, LakeWriter(folder / "ingestion"))
    history.writer.add({t: [row(t)] for t in ROWS if t not in {"sales_order", "design"}})
    processed = FolderStore(folder / "processed")
    models, corrected, pending = TOTESYS.models, frozenset[int](), {1}
    corrected_at = chance.randint(2, steps)
    for step in range(steps + 1):
        if step == corrected_at:
            models = corrected_models
        batches = range(1, len(history.writer.batches) + 1)
        if step == steps or chance.random() < 0.2:
            released = set(batches) if step == steps else set(chance.choices(batches, k=2))
            history.writer.add(released=tuple(sorted(released)))
            pending |= released
        else:
            pending.add(len(batches) + 1)
            history.publish()
        if step == steps or chance.random() < 0.7:
            list(write_generation(history.writer.store, processed, 1, models))
            corrected |= pending if models is corrected_models else set()
            pending.clear()
            yield Transformed(history, processed, corrected, models)
