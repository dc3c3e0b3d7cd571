"""The whole pipeline with capture from the log, beside other processes that capture."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from database import execute
from depth import drawn, seeded_random
from installation import Installation
from log_source import PUBLISH, WAIT_SECONDS, drop_logged_database

from conftest import EmptyWarehouse
from totes.alert import AlertTargets
from totes.embedded.servers import EmbeddedServer, prepare_source
from totes.operations.verify import VerifyResult, verify
from totes.stages.runner import NO_ALERTS, StepResult, run

pytestmark = pytest.mark.few(1)

QUANTITY = "SELECT item_quantity FROM fact_purchase_order WHERE purchase_order_id = 1 ORDER BY 1"


@pytest.fixture
def logged(
    log_server: EmbeddedServer,
    warehouse: EmptyWarehouse,
    database_names: Iterator[str],
    tmp_path: Path,
) -> Iterator[Installation]:
    """A platform that captures from the log, with orders and an empty warehouse."""
    name = next(database_names)
    source = prepare_source(log_server.dsn, name)
    execute(source.superuser, "ALTER ROLE totes_ingest REPLICATION", PUBLISH)
    installation = Installation(source.owner, source.reader, warehouse.dsn, tmp_path)
    try:
        yield installation.with_settings(capture="log", log_slot=f"s_{name}").add_orders()
    finally:
        drop_logged_database(log_server.dsn, source.superuser, name)


@dataclass
class Running:
    """A `run` in a thread; `results` are its steps."""

    stop: threading.Event = field(default_factory=threading.Event)
    results: list[StepResult] = field(default_factory=list)


@contextmanager
def running(installation: Installation, alerts: AlertTargets = NO_ALERTS) -> Iterator[Running]:
    """Run the pipeline until the end of the block."""
    state = Running()
    with installation.resources() as resources:
        thread = threading.Thread(
            target=run,
            args=(resources.pipeline, timedelta(), state.stop),
            kwargs={
                "on_result": state.results.append,
                "alert_targets": alerts,
                "log_alarm_bytes": 1,
            },
        )
        thread.start()
        try:
            yield state
        finally:
            state.stop.set()
            thread.join()


def wait_for(installation: Installation, query: str, expected: object) -> None:
    """Wait until the first column of a query of the warehouse has these values."""
    deadline = time.monotonic() + WAIT_SECONDS
    while (found := [value for (value,) in installation.query(query)]) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


def verify_again(installation: Installation) -> VerifyResult:
    """Verify as another process would."""
    with installation.resources() as resources:
        return verify(resources.pipeline)


def test_a_value_that_came_and_went_is_in_the_history(logged: Installation) -> None:
    logged.change("UPDATE purchase_order SET item_quantity = 5 WHERE purchase_order_id = 1")
    logged.run()
    for quantity in (6, 5, 7):
        logged.change(f"UPDATE purchase_order SET item_quantity = {quantity}")
    logged.run()
    versions = logged.query(
        "SELECT item_quantity, valid_to IS NULL FROM fact_purchase_order"
        " WHERE purchase_order_id = 1 ORDER BY valid_from"
    )
    assert versions == [(5, False), (6, False), (5, False), (7, True)]
    assert verify_again(logged).equal


def test_a_change_that_ends_the_wait_for_one_is_loaded(logged: Installation) -> None:
    logged.run()
    with running(logged):
        for quantity in range(1000, 1010):
            wait_for(
                logged,
                "SELECT checked_at > now() - interval '1 minute' FROM totes.freshness",
                [True],
            )
            logged.change(
                f"UPDATE purchase_order SET item_quantity = {quantity} WHERE purchase_order_id = 1"
            )
            wait_for(logged, "SELECT max(item_quantity) FROM fact_purchase_order", [quantity])
    assert verify_again(logged).equal


def test_verify_beside_run_waits_for_its_turn_and_merges_no_versions(logged: Installation) -> None:
    chance = seeded_random()
    logged.change("UPDATE purchase_order SET item_quantity = 0 WHERE purchase_order_id = 1")
    logged.run()
    changes = drawn(60, 1000)
    with running(logged) as state, psycopg.connect(logged.owner.reveal(), autocommit=True) as owner:
        for quantity in range(1, changes + 1):
            owner.execute(
                "UPDATE purchase_order SET item_quantity = %s WHERE purchase_order_id = 1",
                [quantity],
            )
            if chance.random() < 3 / changes:
                assert verify_again(logged).equal
        assert verify_again(logged).equal
        assert not any(result.scanned for result in state.results if result.stage == "ingest")
    assert [quantity for (quantity,) in logged.query(QUANTITY)] == [*range(changes + 1)]


def test_a_gap_and_retained_log_are_reported_once(logged: Installation, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    logged.run()
    slot = logged.settings["TOTES_LOG_SLOT"]
    execute(logged.owner.replace(user="postgres"), f"SELECT pg_drop_replication_slot('{slot}')")
    logged.change("UPDATE purchase_order SET item_quantity = 1111")
    with running(logged, AlertTargets(command=f"tee -a {sent}")):
        for quantity in (1111, 2222):
            logged.change(f"UPDATE purchase_order SET item_quantity = {quantity}")
            wait_for(logged, "SELECT max(item_quantity) FROM fact_purchase_order", [quantity])
    messages = [
        json.loads(line)["message"] for line in sent.read_text().replace("}{", "}\n{").splitlines()
    ]
    assert sum("does not exist. All tables were scanned" in text for text in messages) == 1
    assert sum("more than TOTES_LOG_ALARM" in text for text in messages) == 1
    assert len(messages) == 2
    assert verify_again(logged).equal


def test_scan_and_log_take_over_from_each_other(logged: Installation) -> None:
    chance = seeded_random()
    scanning = logged.with_settings(capture="scan")
    for quantity in range(drawn(6, 40)):
        logged.change(f"UPDATE purchase_order SET item_quantity = {quantity}")
        logged.change(
            "DELETE FROM payment WHERE payment_id = (SELECT max(payment_id) FROM payment)"
        )
        captured_by = chance.choice([logged, scanning])
        result = captured_by.totes("run", "--once")
        assert result.exit_code == 0, result.output
        assert verify_again(captured_by).equal
    assert logged.totes("replay").exit_code == 0
    assert verify_again(logged).equal
