"""The soak: its choices are its seed's, it sees what is wrong, and three seeds find nothing."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from random import SystemRandom
from typing import LiteralString

import psycopg
import pytest
import soak
import soak_plan
from depth import DEEP
from installation import Installation
from soak_plan import ELSEWHERE, FAULTS, NEVER, STAGES, Round, rounds
from source_audit import Finding, SourceAudit

from conftest import EmptyWarehouse, Totesys
from totes.config.settings import Dsn

SEEDS = (1, 2, 43)
"""Between them they have rivals of each stage and replays of both kinds."""

ROUNDS = 2

FAILPOINTS = soak.failpoints()


def plans(seed: int, number: int = 60) -> list[Round]:
    return list(islice(rounds(seed, FAILPOINTS), number))


def test_a_seed_is_one_sequence_of_choices() -> None:
    assert plans(1) == plans(1)
    assert plans(1) != plans(2)
    assert plans(1, 5) == plans(1)[:5], "however long it goes on"


@pytest.mark.parametrize("seed", SEEDS)
def test_every_fault_and_every_failpoint_has_its_turn(seed: int) -> None:
    early = [step for plan in plans(seed, ROUNDS) for step in plan.steps]
    assert {step.fault for step in early} == set(FAULTS)
    steps = [step for plan in plans(seed) for step in plan.steps]
    killed_at = {step.what for step in steps if step.fault == "kill-at-failpoint"}
    left = {name for name in FAILPOINTS if name not in killed_at}
    assert {name for name in left if name.partition(".")[0] not in ELSEWHERE} == NEVER


def test_the_seeds_of_these_tests_have_rivals_of_each_stage_and_replays_of_both_kinds() -> None:
    chosen = [plan for seed in SEEDS for plan in plans(seed, ROUNDS)]
    rivals = [step.command for plan in chosen for step in plan.steps if step.fault == "rivals"]
    assert set(rivals) == set(STAGES)
    assert {plan.replay for plan in chosen} == {None, "all", "some"}


@pytest.fixture
def watched(totesys: Totesys, warehouse: EmptyWarehouse, tmp_path: Path) -> Installation:
    """A platform of three batches, with a witness from the beginning on."""
    installation = Installation(totesys.owner, totesys.dsn, warehouse.dsn, tmp_path)
    SourceAudit(totesys.admin.reveal(), installation.ingestion).install()
    installation.filled(12).run()
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
    found = [*source_audit.follow(), *source_audit.compare(installation.warehouse.reveal())]
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
"""Without the keys that would not let it happen."""

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
"""What is done to the warehouse, and how the witness calls it."""


def test_the_witness_names_what_is_lost_doubled_or_altered(
    totesys: Totesys, warehouse: EmptyWarehouse, watched: Installation, copied: Callable[[Dsn], Dsn]
) -> None:
    assert findings(totesys, watched) == []
    for wrong, found in WRONG.items():
        harmed = copied(watched.warehouse)
        admin = warehouse.admin.replace(dbname=str(harmed.parts["dbname"]))
        with psycopg.connect(admin.reveal()) as connection:
            connection.execute(UNPROTECTED)
            connection.execute(wrong.encode())
        assert findings(totesys, replace(watched, warehouse=harmed)) == [found], wrong


def test_half_a_batch_is_found(
    totesys: Totesys, warehouse: EmptyWarehouse, watched: Installation
) -> None:
    source_audit = SourceAudit(totesys.admin.reveal(), watched.ingestion)
    assert list(source_audit.half_loaded(watched.warehouse.reveal())) == []
    with psycopg.connect(warehouse.admin.reveal()) as connection:
        connection.execute("DELETE FROM totes.batches WHERE batch = 3")
    [found] = source_audit.half_loaded(watched.warehouse.reveal())
    assert (found.kind, found.table, found.key) == ("altered", "fact_payment", "1000")


def test_a_batch_without_anything_new_is_found(totesys: Totesys, watched: Installation) -> None:
    with psycopg.connect(totesys.admin.reveal()) as connection:
        connection.execute(
            "DELETE FROM journal.payment WHERE key IN (4, 1000);"
            "DELETE FROM journal.transaction; DELETE FROM journal.design WHERE gone"
        )
    assert ("doubled", "batches", "-", 3) in findings(totesys, watched)


def test_the_verdict_as_json_has_all_of_it() -> None:
    tally = soak.Tally(seed=5, rounds=7)
    tally.faults["rivals"] += 2
    tally.findings.append(Finding("lost", "fact_payment", "3", 2, "missing"))
    told = json.loads(tally.to_json())
    assert (told["seed"], told["lost"], told["doubled"]) == (5, 1, 0)
    assert (told["faults"]["rivals"], told["faults"]["full-disk"]) == (2, 0)
    assert told["findings"][0]["table"] == "fact_payment"


def test_the_verdict_names_what_was_found_and_how_to_find_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tally = soak.Tally(seed=5, rounds=7, kills=3, seconds=90)
    tally.findings.append(Finding("lost", "fact_payment", "3", 2, "missing"))
    monkeypatch.setattr(soak, "soak", lambda *_, **__: tally)
    assert soak.main(["--seed", "5"]) == 1
    told = capsys.readouterr()
    assert "lost: fact_payment, key 3, batch 2: missing" in told.err
    assert "--seed 5 --rounds 7" in told.err
    assert told.out.startswith("soak seed=5 minutes=1.5 rounds=7 ")
    assert told.out.endswith(" lost 1 doubled 0 altered 0 unforeseen 0\n")


@pytest.mark.timeout(1200)
def test_nothing_is_lost_doubled_or_altered_whatever_happens(
    scratch: Path, record_property: Callable[[str, object], None]
) -> None:
    happened = Counter[str]()
    for seed in SEEDS if DEEP else (SystemRandom().randrange(10**6),):
        home = scratch / f"soak-{seed}"
        command = ["--seed", str(seed), "--rounds", str(ROUNDS), "--minutes", str(soak.MANY)]
        done = subprocess.run(
            [sys.executable, soak.__file__, *command, "--home", home, "--json"],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        tally = json.loads(done.stdout)
        assert (tally["findings"], done.returncode, tally["rounds"]) == ([], 0, ROUNDS), seed
        happened += Counter(tally["faults"])
        told = {name: tally[name] for name in ("changes", "batches", "kills", "seconds")}
        record_property(f"Soak, seed {seed}", told)
    if DEEP:  # a single seed need not have all of them
        assert {name for name in FAULTS if not happened[name]} == set(), "what it is blind for"
    assert soak_plan.ROUNDS_OF_A_WORLD > ROUNDS
