"""Random transactions and stage runs: in the end the warehouse has every captured version.

A Hypothesis state machine changes a real totesys in several concurrent transactions, runs ingest,
transform and load in between, and then compares the warehouse with a simple oracle.
"""

from collections.abc import Callable
from contextlib import ExitStack

import pytest
from depth import DEEP, drawn, sample_seed
from history_machine import COUNTED, Environment, History
from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from conftest import EmptyWarehouse, Totesys

EXAMPLES, PARTS = drawn(6, 400), drawn(1, 2)
STEPS = 11


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("part", range(PARTS))
def test_the_warehouse_has_every_version_that_was_captured(
    totesys: Totesys,
    warehouse: EmptyWarehouse,
    part: int,
    record_property: Callable[[str, object], None],
) -> None:
    seed(sample_seed(f"history {part}"))(History)
    with ExitStack() as stack:
        environment = History.environment = Environment(totesys, warehouse, stack)
        run_state_machine_as_test(
            History,
            settings=settings(
                max_examples=EXAMPLES // PARTS,
                stateful_step_count=STEPS,
                suppress_health_check=list(HealthCheck),
            ),
        )
    counted = ", ".join(f"{environment.counts[name]} {name}" for name in COUNTED)
    record_property(f"History, part {part + 1} of {PARTS}", counted)
    if DEEP:  # a few examples may not contain all of them
        assert not [name for name in COUNTED if not environment.counts[name]]
