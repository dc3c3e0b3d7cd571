"""The simulator's hostile mix and its log of changes."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from database import fetch_rows
from simulated_business import DEAL, Tables, dump, steps
from source_audit import TABLES

from conftest import Fresh, Totesys
from totes.config.dsn import Dsn
from totes.demo.simulator import (
    HOSTILE,
    Event,
    Kind,
    Simulator,
    bulk,
    seed_reference,
)


@dataclass(frozen=True)
class Hostile:
    """A totesys after hostile events: its rows before them, the log, and the events."""

    dsn: Dsn
    owner: Dsn
    before: Tables
    log: Path
    events: list[Event]


@pytest.fixture(scope="module")
def hostile(fresh: Fresh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """A totesys after 700 hostile events; read-only."""
    log = tmp_path_factory.mktemp("hostile") / "committed.jsonl"
    with fresh() as totesys:
        with psycopg.connect(totesys.owner.reveal()) as connection:
            seed_reference(connection, seed=2)
        before = dump(totesys.dsn)
        with Simulator(totesys.owner, seed=2, mix=HOSTILE, log=log) as simulator:
            events = steps(simulator, 700)
            events += simulator.finish()
        yield Hostile(totesys.dsn, totesys.owner, before, log, events)


def test_every_kind_of_the_hostile_mix_happens(hostile: Hostile) -> None:
    events = hostile.events
    committed = Counter(event.kind for event in events if event.changes)
    assert set(committed) == set(Kind) - {Kind.ROLLBACK, Kind.BRIEF}
    assert any(event.kind is Kind.ROLLBACK for event in events)
    opened = sum(event.kind is Kind.LATE and not event.changes for event in events)
    assert opened == committed[Kind.LATE]
    assert fetch_rows(hostile.dsn, "SELECT 1 FROM payment WHERE payment_type_id IN (2, 4) LIMIT 1")
    assert fetch_rows(
        hostile.dsn,
        'SELECT 1 FROM "transaction" WHERE coalesce(sales_order_id, purchase_order_id) IS NULL',
    )
    assert fetch_rows(
        hostile.dsn, r"SELECT 1 FROM counterparty WHERE counterparty_legal_name ~ '[^\x01-\x7f]'"
    )


def test_hostile_payments_still_equal_quantity_times_price(hostile: Hostile) -> None:
    with psycopg.connect(hostile.owner.reveal()) as connection:
        connection.execute(DEAL)
        ((deals,),) = connection.execute("SELECT count(*) FROM deal")
        wrong = connection.execute("SELECT * FROM deal WHERE payment_amount <> cost").fetchall()
    assert deals > 100
    assert wrong == []


def test_the_log_has_every_change_of_the_database(hostile: Hostile) -> None:
    replayed = {table: dict(rows) for table, rows in hostile.before.items()}
    for line in hostile.log.read_text().splitlines():
        for change in json.loads(line, parse_float=str)["changes"]:
            rows = replayed[change["table"]]
            if change["row"] is None:
                del rows[change["key"]]
            else:
                rows[change["key"]] = change["row"]
    assert replayed == dump(hostile.dsn)


def changed_columns(before: dict[int, object], after: dict[int, object]) -> Iterable[set[str]]:
    """Yield the changed columns of each changed row."""
    for key, old in before.items():
        new = after[key]
        assert isinstance(old, dict)
        assert isinstance(new, dict)
        if old != new:
            yield {column for column in old if old[column] != new[column]}


def test_silent_changes_are_in_the_listed_columns_only(totesys: Totesys) -> None:
    bulk(totesys.owner, orders=200, seed=1)
    before = dump(totesys.dsn)
    with Simulator(totesys.owner, seed=1, mix={Kind.SILENT: 50}) as simulator:
        events = [event for event in steps(simulator, 300) if event.kind is Kind.SILENT]
    after = dump(totesys.dsn)
    assert len(events) > 200
    listed = {
        "sales_order": {
            "staff_id",
            "design_id",
            "agreed_delivery_date",
            "agreed_delivery_location_id",
        },
        "purchase_order": {
            "staff_id",
            "item_code",
            "agreed_delivery_date",
            "agreed_delivery_location_id",
        },
        "design": {"file_location"},
    }
    for table, columns in listed.items():
        changed = set().union(*changed_columns(before[table], after[table]))
        assert changed == columns, table
    for table in set(TABLES) - set(listed) - {"payment"}:
        assert before[table] == after[table]


def test_a_late_transaction_commits_after_newer_ones(totesys: Totesys) -> None:
    with Simulator(totesys.owner, seed=4, mix={Kind.LATE: 2, Kind.SALE: 25}) as simulator:
        events = steps(simulator, 200)
    orders = [event.key or 0 for event in events if event.table == "sales_order"]
    assert orders != sorted(orders)
    assert len(set(orders)) == len(orders)


def test_closing_commits_and_logs_late_transactions(totesys: Totesys, tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    with Simulator(totesys.owner, seed=4, mix={Kind.LATE: 25}, log=log) as simulator:
        assert [event.text.rsplit(", ")[-1] for event in steps(simulator, 3)] == ["still open"] * 3
        assert fetch_rows(totesys.dsn, "SELECT count(*) FROM sales_order") == [(0,)]
        assert simulator.step().key == 1  # at most three are open
    ((orders,),) = fetch_rows(totesys.dsn, "SELECT count(*) FROM sales_order")
    assert orders == len(log.read_text().splitlines()) == 3


def test_an_event_has_the_table_and_key_of_its_first_change(totesys: Totesys) -> None:
    with Simulator(totesys.owner, seed=1, mix={Kind.SALE: 25}) as simulator:
        event = next(event for event in simulator.run() if event.kind is Kind.SALE)
    assert (event.table, event.key) == ("sales_order", 1)
    assert [change.table for change in event.changes] == ["sales_order", "transaction", "payment"]
    with Simulator(totesys.owner, seed=1, mix={Kind.ROLLBACK: 25}) as simulator:
        event = simulator.step()
    assert (event.table, event.key, event.changes) == (None, None, ())
