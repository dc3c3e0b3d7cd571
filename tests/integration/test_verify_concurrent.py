"""Verify beside a source that changes and runs that load newer batches."""

import threading
from collections.abc import Callable

import pytest
from depth import drawn
from installation import Installation, at
from scratch_source import once

from totes.demo.simulator import HOSTILE, Simulator, bulk
from totes.errors import WarehouseError
from totes.operations.verify import ATTEMPTS, TableResult, VerifyResult, verify
from totes.progress import NoProgress

pytestmark = pytest.mark.few(2)

COMPARISONS = drawn(2, 4)


def test_a_source_that_changes_is_compared_in_one_snapshot(installation: Installation) -> None:
    bulk(installation.owner, orders=200)
    stop = threading.Event()

    def change_source() -> None:
        with Simulator(installation.owner, seed=3, mix=HOSTILE) as simulator:
            while not stop.is_set():
                simulator.step()

    installation.run()
    worker = threading.Thread(target=change_source)
    worker.start()
    try:
        results = [verify(installation.pipeline) for _ in range(COMPARISONS)]
    finally:
        stop.set()
        worker.join()
    assert [differing_tables(result) for result in results] == [[]] * COMPARISONS
    assert len({result.batch for result in results}) == COMPARISONS, (
        "the source changed before each comparison"
    )


def differing_tables(result: VerifyResult) -> list[TableResult]:
    return [table for table in result.tables if not table.equal]


def test_a_change_committed_during_the_comparison_is_not_seen(installation: Installation) -> None:
    installation.add_orders(5).run()
    installation.change("UPDATE staff SET first_name = 'Ann' WHERE staff_id = 1")
    with at(
        "load.before-commit",
        once(
            lambda: installation.change("UPDATE staff SET first_name = 'Bob'; DELETE FROM payment")
        ),
    ):
        assert verify(installation.pipeline).equal


def test_verify_starts_again_if_another_run_loads_a_newer_batch(
    installation: Installation,
) -> None:
    installation.add_orders(5).run()
    installation.change("UPDATE staff SET first_name = 'Ann' WHERE staff_id = 1")

    def run_meanwhile() -> None:
        installation.change("UPDATE staff SET first_name = 'Bob' WHERE staff_id = 1")
        installation.run()

    with at("transform.before-manifest", once(run_meanwhile)):
        result = verify(installation.pipeline)
    assert (result.batch, result.equal) == (3, True)


def test_verify_starts_again_if_another_ingest_publishes_first(installation: Installation) -> None:
    installation.add_orders(5).run()
    installation.change("UPDATE staff SET first_name = 'Ann' WHERE staff_id = 1")

    def run_meanwhile() -> None:
        installation.run()

    with at("ingest.captured", once(run_meanwhile)):
        result = verify(installation.pipeline)
    assert (result.batch, result.equal) == (2, True)


def test_verify_fails_if_another_run_always_loads_a_newer_batch(installation: Installation) -> None:
    installation.add_orders(5).run()
    snapshots: list[str] = []

    def run_meanwhile() -> None:
        """Runs into the same failpoint, and then passes it."""
        if len(snapshots) % 2 == 0:
            snapshots.append("verify")
            installation.change(
                f"UPDATE staff SET first_name = 'Ann {len(snapshots)}' WHERE staff_id = 1"
            )
            installation.run()
        else:
            snapshots.append("run")

    with (
        at("source.snapshot-taken", run_meanwhile),
        pytest.raises(WarehouseError, match="stop it, or try again"),
    ):
        verify(installation.pipeline)
    assert snapshots == ["verify", "run"] * ATTEMPTS


class ActionBefore(NoProgress):
    """Progress that calls `action` when `what` starts."""

    def __init__(self, what: str, action: Callable[[], None]) -> None:
        self.what, self.action = what, action

    def start(self, what: str, total: int | None = None, batch: int | None = None) -> None:  # noqa: ARG002
        super().start(what, total)
        if what == self.what:
            self.action()


def test_a_batch_loaded_during_the_comparison_is_not_seen(installation: Installation) -> None:
    installation.add_orders(5).run()

    def run_meanwhile() -> None:
        installation.change("UPDATE payment SET paid = NOT paid")
        installation.run()

    result = verify(installation.pipeline, ActionBefore("verify fact_payment", run_meanwhile))
    assert (result.batch, result.equal) == (1, True)
    assert installation.query("SELECT max(batch) FROM totes.batches") == [(2,)]
