"""The soak: its seed determines its choices, it detects damage, and its rounds find none."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
import soak
import soak_plan
from depth import DEEP, drawn, sample_seed
from installation import Installation
from soak_plan import AFTER_QUIET_MINUTES, FAULTS, NOT_IN_SOAK, STAGES, Round, rounds
from source_audit import Finding, SourceAudit

from conftest import EmptyWarehouse, Totesys
from totes.config.dsn import Dsn

SEEDS = (1, 2, 43)
"""Together they have concurrent runs of each stage, and both kinds of replay."""

ROUNDS = 2
"""Rounds in which the plan of a seed has every fault."""

EXECUTED_ROUNDS = drawn(1, 2)

FAILPOINTS = soak.failpoints()


def plans(seed: int, number: int = 60) -> list[Round]:
    return list(islice(rounds(seed, FAILPOINTS), number))


def test_a_seed_determines_all_choices() -> None:
    assert plans(1) == plans(1)
    assert plans(1) != plans(2)
    assert plans(1, 5) == plans(1)[:5], "the number of rounds must not change the earlier ones"


@pytest.mark.parametrize("seed", SEEDS)
def test_every_fault_and_every_failpoint_is_used(seed: int) -> None:
    early = [step for plan in plans(seed, ROUNDS) for step in plan.steps]
    assert {step.fault for step in early} == set(FAULTS)
    steps = [step for plan in plans(seed) for step in plan.steps]
    killed_at = {step.what for step in steps if step.fault == "kill-at-failpoint"}
    left = {name for name in FAILPOINTS if name not in killed_at}
    missed = {name for name in left if name.partition(".")[0] not in NOT_IN_SOAK}
    assert missed == AFTER_QUIET_MINUTES


def test_the_seeds_include_concurrent_runs_of_each_stage_and_both_replays() -> None:
    all_rounds = [plan for seed in SEEDS for plan in plans(seed, ROUNDS)]
    steps = [step for plan in all_rounds for step in plan.steps]
    concurrent = {step.command for step in steps if step.fault == "concurrent-runs"}
    assert concurrent == set(STAGES)
    assert {plan.replay for plan in all_rounds} == {None, "all", "some"}


@pytest.fixture
def watched(totesys: Totesys, warehouse: EmptyWarehouse, tmp_path: Path) -> Installation:
    """An installation with three batches, whose source has the journal from the beginning."""
    installation = Installation(totesys.owner, totesys.dsn, warehouse.dsn, tmp_path)
    SourceAudit(totesys.admin.reveal(), installation.ingestion).install()
    installation.add_orders(12).run()
    installation.change(
        "UPDATE payment SET paid = NOT paid WHERE payment_id = 3;"
        "INSERT INTO design (design_name, file_location, file_name, last_updated)"
        " VALUES ('Gone', '/', 'gone.json', '2025-01-01')"
    )
    installation.run()
    installation.change(
        "UPDATE payment SET payment_id = 1000 WHERE payment_id = 4;"
        "DELETE FROM design WHERE design_name = 'Gone'"
    )
    installation.run()
    return installation


def findings(
    totesys: Totesys, installation: Installation
) -> list[tuple[str, str, str, int | None]]:
    source_audit = SourceAudit(totesys.admin.reveal(), installation.ingestion)
    found = [*source_audit.replay_batches(), *source_audit.compare(installation.warehouse.reveal())]
    return sorted((one.kind, one.table, one.key, one.batch) for one in found)


UNPROTECTED: LiteralString = """
SET session_replication_role = replica;
DO $$
DECLARE
    name regclass;
BEGIN
    ALTER TABLE fact_payment DROP CONSTRAINT fact_payment_pkey;
    FOR name IN SELECT indexrelid FROM pg_index WHERE indrelid = 'fact_payment'::regclass LOOP
        EXECUTE format('DROP INDEX %s', name);
    END LOOP;
END
$$
"""
"""Drop the constraints that would prevent the damage."""

WRONG: Mapping[str, tuple[str, str, str, int | None]] = {
    "DELETE FROM fact_payment WHERE payment_id = 3 AND valid_to IS NULL": (
        "lost", "fact_payment", "3", 2
    ),
    "INSERT INTO fact_payment SELECT * FROM fact_payment WHERE payment_id = 1000": (
        "doubled", "fact_payment", "1000", 3
    ),
    "UPDATE fact_payment SET payment_amount = payment_amount + 0.01 WHERE payment_id = 5": (
        "altered", "fact_payment", "5", 1
    ),
    "UPDATE fact_payment SET valid_to = NULL WHERE payment_id = 4": (
        "altered", "fact_payment", "4", 1
    ),
    "INSERT INTO fact_payment SELECT (jsonb_populate_record(f, '{\"payment_id\": 9999}')).*"
    " FROM fact_payment f WHERE payment_id = 1000": ("doubled", "fact_payment", "9999", 3),
    "DELETE FROM dim_date WHERE date_id = '2022-05-01'": ("lost", "dim_date", "2022-05-01", None),
    "UPDATE dim_design SET file_name = 'x' WHERE design_name = 'Gone'": (
        "altered", "dim_design", "101", None
    ),
    "DELETE FROM totes.deleted_dimension_rows": ("lost", "dim_design", "101", None),
    "DELETE FROM totes.batches WHERE batch = 2": ("lost", "totes.batches", "2", 2),
}  # fmt: skip
"""Damage to the warehouse, and the finding that the source audit must report."""


def test_the_source_audit_finds_every_kind_of_damage(
    totesys: Totesys, warehouse: EmptyWarehouse, watched: Installation, copied: Callable[[Dsn], Dsn]
) -> None:
    """Lost, doubled and altered rows, a partial load, and a batch without changes."""

    def harm(statement: bytes) -> Installation:
        """Return an installation with a copy of the warehouse, damaged by a statement."""
        harmed = copied(watched.warehouse)
        admin = warehouse.admin.replace(dbname=str(harmed.parts["dbname"]))
        with psycopg.connect(admin.reveal()) as connection:
            connection.execute(UNPROTECTED)
            connection.execute(statement)
        return replace(watched, warehouse=harmed)

    source_audit = SourceAudit(totesys.admin.reveal(), watched.ingestion)
    assert findings(totesys, watched) == []
    assert list(source_audit.find_partial_loads(watched.warehouse.reveal())) == []
    for wrong, found in WRONG.items():
        assert findings(totesys, harm(wrong.encode())) == [found], wrong

    unrecorded = harm(b"DELETE FROM totes.batches WHERE batch = 3")
    [partial] = source_audit.find_partial_loads(unrecorded.warehouse.reveal())
    assert (partial.kind, partial.table, partial.key) == ("altered", "fact_payment", "1000")

    with psycopg.connect(totesys.admin.reveal()) as connection:
        connection.execute(
            "DELETE FROM journal.payment WHERE key IN (4, 1000);"
            "DELETE FROM journal.transaction; DELETE FROM journal.design WHERE is_deleted"
        )
    assert ("doubled", "batches", "-", 3) in findings(totesys, watched)


def test_the_result_as_json_is_complete() -> None:
    tally = soak.Tally(seed=5, rounds=7)
    tally.faults["concurrent-runs"] += 2
    tally.findings.append(Finding("lost", "fact_payment", "3", 2, "missing"))
    result = json.loads(tally.to_json())
    assert (result["seed"], result["lost"], result["doubled"]) == (5, 1, 0)
    assert (result["faults"]["concurrent-runs"], result["faults"]["full-disk"]) == (2, 0)
    assert result["findings"][0]["table"] == "fact_payment"


def test_the_result_lists_the_findings_and_the_command_that_repeats_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = soak.Tally(seed=5, rounds=7, kills=3, seconds=90)
    tally.findings.append(Finding("lost", "fact_payment", "3", 2, "missing"))
    monkeypatch.setattr(soak, "soak", lambda *_, **__: tally)
    assert soak.main(["--seed", "5"]) == 1
    output = capsys.readouterr()
    assert "lost: fact_payment, key 3, batch 2: missing" in output.err
    assert "--seed 5 --rounds 7" in output.err
    assert output.out.startswith("soak seed=5 minutes=1.5 rounds=7 ")
    assert output.out.endswith(" lost 1 doubled 0 altered 0 unexpected 0\n")


@pytest.mark.timeout(1200)
def test_nothing_is_lost_doubled_or_altered_under_random_faults(
    scratch: Path, record_property: Callable[[str, object], None]
) -> None:
    happened = Counter[str]()
    for seed in SEEDS if DEEP else (sample_seed("soak"),):
        home = scratch / f"soak-{seed}"
        rounds_and_minutes = [
            "--rounds",
            str(EXECUTED_ROUNDS),
            "--minutes",
            str(soak.REPEAT_MINUTES),
        ]
        command = ["--seed", str(seed), *rounds_and_minutes]
        done = subprocess.run(
            [sys.executable, soak.__file__, *command, "--home", home, "--json"],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        tally = json.loads(done.stdout)
        assert (tally["findings"], done.returncode, tally["rounds"]) == ([], 0, EXECUTED_ROUNDS), (
            seed
        )
        happened += Counter(tally["faults"])
        numbers = {name: tally[name] for name in ("changes", "batches", "kills", "seconds")}
        record_property(f"Soak, seed {seed}", numbers)
    if DEEP:  # the faults of a single seed need not all happen
        assert {name for name in FAULTS if not happened[name]} == set(), (
            "faults that never happened"
        )
    assert soak_plan.ROUNDS_OF_AN_ENVIRONMENT > ROUNDS
