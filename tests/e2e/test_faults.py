"""What fails underneath is one clear line, leaves nothing half visible, and is healed next time."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from checked_installation import CheckedInstallation
from faults import (
    CASES,
    COMMIT,
    Cut,
    Drawn,
    Fault,
    FaultyStore,
    Given,
    Proxy,
    at_the,
    restart,
    terminate,
)
from installation import Installation, at
from scratch_source import seeded

from conftest import ClusterFactory
from totes.embedded.servers import EmbeddedServer, prepare_source, prepare_warehouse
from totes.errors import (
    LakeError,
    SourceAway,
    TotesError,
    WarehouseAway,
)
from totes.lake import Store
from totes.lake.folder import FolderStore
from totes.lake.log import fetch_checked, newest, read_manifest, read_processed_manifest
from totes.lake.manifest import manifest_path, processed_manifest_path
from totes.source import snapshot
from totes.stages.runner import STAGES, Pipeline, run_once, steps

pytestmark = [pytest.mark.bare]  # making its tables may fail, too


@pytest.fixture
def journey(installation: Installation) -> CheckedInstallation:
    """With a batch that has arrived."""
    begun = CheckedInstallation(installation.filled(5), installation.pipeline)
    installation.run()
    begun.note()
    return begun


def assert_nothing_half(pipeline: Pipeline, folder: Path) -> None:
    """Every batch that is published has all of its files, as its manifest says."""
    for batch in range(1, newest(pipeline.ingestion, manifest_path) + 1):
        manifest, _ = read_manifest(pipeline.ingestion, batch)
        for table in manifest.tables:
            for file in (*table.files, *table.keys):
                fetch_checked(pipeline.ingestion, file, folder / "file")
    for batch in range(1, newest(pipeline.processed, lambda n: processed_manifest_path(1, n)) + 1):
        made, _ = read_processed_manifest(pipeline.processed, 1, batch)
        for kept in (*made.files, *made.refused):
            fetch_checked(pipeline.processed, kept, folder / "file")


def on(pipeline: Pipeline, which: str, store: Store) -> Pipeline:
    """The same with another store."""
    if which == "ingestion":
        return replace(pipeline, ingestion=store)
    return replace(pipeline, processed=store)


def one_line(error: BaseException) -> str:
    assert isinstance(error, TotesError)
    assert "\n" not in str(error)
    return str(error)


# --- the lake ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        pytest.param(*case, id=f"{case[0]} {case[1].value}")
        for case in CASES
        if case[1] is not Fault.SLOW
    ],
)
def test_a_store_that_fails_once_costs_an_attempt_and_nothing_else(
    journey: CheckedInstallation, tmp_path: Path, operation: str, fault: Fault
) -> None:
    good = journey.pipeline
    happened = 0
    for stage in STAGES:
        journey.change()
        for earlier in STAGES[: STAGES.index(stage)]:
            list(steps(good, earlier))
        for which, nth in product(("ingestion", "processed"), (1, 3)):
            store = FaultyStore(getattr(good, which), Given(operation, fault, nth))
            failure = failed(on(good, which, store), stage)
            assert failure is None or (store.happened and isinstance(failure, LakeError))
            if store.happened["fetch", Fault.CORRUPT]:
                assert failure is not None
                assert "its SHA-256 is not the manifest's" in str(failure)
            happened += store.happened.total()
        journey.note()
        list(run_once(good))
        journey.note()
    assert_nothing_half(good, tmp_path)
    journey.assert_whole()
    assert happened or operation == "list", "no stage does this"


def failed(pipeline: Pipeline, stage: str) -> TotesError | None:
    """What a stage fails with, which is one line."""
    try:
        list(steps(pipeline, stage))
    except TotesError as error:
        one_line(error)
        return error
    return None


def test_a_slow_store_costs_time_and_nothing_else(journey: CheckedInstallation) -> None:
    journey.change()
    plan = Drawn(seeded(), 0.5, [Fault.SLOW])
    slow = [
        FaultyStore(store, plan)
        for store in (journey.pipeline.ingestion, journey.pipeline.processed)
    ]
    list(run_once(replace(journey.pipeline, ingestion=slow[0], processed=slow[1])))
    assert all(store.happened for store in slow)
    journey.note()
    journey.assert_whole()


def test_a_store_that_never_answers_again_is_the_lakes_exit_code(
    journey: CheckedInstallation,
) -> None:
    journey.change()
    store = FaultyStore(journey.pipeline.ingestion, Given("put", Fault.BEFORE, times=10**6))
    with pytest.raises(LakeError) as failed:
        list(run_once(replace(journey.pipeline, ingestion=store)))
    assert failed.value.exit_code == 4


# --- connections ---------------------------------------------------------------------------------


@pytest.mark.parametrize("received_bytes", [1_000, 8_000, 20_000, 40_000])
def test_a_source_cut_while_it_is_read_is_read_again(
    journey: CheckedInstallation, server: EmbeddedServer, received_bytes: int
) -> None:
    with Proxy(server.dsn) as proxy:
        cuttable = replace(journey.pipeline, source=proxy.through(journey.pipeline.source))
        journey.installation.change("UPDATE payment SET company_ac_number = company_ac_number + 1")
        journey.installation.change("ALTER TABLE address ADD note text")  # is captured whole
        proxy.cut = Cut(received_bytes=received_bytes)
        with pytest.raises(SourceAway) as failed:
            list(steps(cuttable, "ingest"))
        assert "can't be read" in one_line(failed.value)
        assert failed.value.exit_code == 3
        proxy.cut = Cut(received_bytes=received_bytes)
        list(run_once(cuttable))  # which tries again by itself
        assert proxy.cuts == 2
    journey.note()
    journey.assert_whole()


@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
def test_a_warehouse_cut_around_its_commit_has_the_batch_once(
    journey: CheckedInstallation, server: EmbeddedServer, *, answered: bool
) -> None:
    with Proxy(server.dsn) as proxy:
        cuttable = replace(journey.pipeline, warehouse=proxy.through(journey.pipeline.warehouse))
        journey.change()
        for stage in ("ingest", "transform"):
            list(steps(journey.pipeline, stage))
        journey.note()
        proxy.cut = Cut(COMMIT, answered=answered)
        with pytest.raises(WarehouseAway) as failed:
            list(steps(cuttable, "load"))
        assert "server closed the connection" in one_line(failed.value)
        loaded = journey.installation.ask("SELECT max(batch) FROM totes.batches")
        assert loaded == [(2 if answered else 1,)]
        list(run_once(journey.pipeline))
        journey.change()
        proxy.cut = Cut(COMMIT, answered=answered)
        list(run_once(cuttable))
        assert proxy.cuts == 2
    journey.note()
    journey.assert_whole()


@pytest.mark.parametrize(
    ("name", "application"),
    [
        ("source.locked", "totes ingest"),
        ("ingest.before-file", "totes ingest"),
        ("ingest.before-manifest", "totes ingest"),
        ("load.fetched", "totes"),
        ("load.before-commit", "totes"),
        ("load.committed", "totes"),
        ("checked.before-commit", "totes"),
    ],
)
def test_sessions_ended_by_the_server_are_opened_again(
    journey: CheckedInstallation, server: EmbeddedServer, name: str, application: str
) -> None:
    ended = 0

    def end() -> None:
        nonlocal ended
        place = (
            journey.installation.source
            if application == "totes ingest"
            else journey.installation.warehouse
        )
        ended += terminate(server.dsn.replace(dbname=str(place.parts["dbname"])), application)

    journey.change()
    with at(name, at_the(1, end)):
        journey.installation.run()
    assert ended
    journey.note()
    journey.assert_whole()


def test_a_server_that_stays_away_is_one_line_after_a_few_tries(
    journey: CheckedInstallation, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = journey.installation.source.replace(host="127.0.0.1", port="1")
    with caplog.at_level("INFO", "totes"), pytest.raises(SourceAway) as failed:
        list(run_once(replace(journey.pipeline, source=nowhere)))
    assert "refused" in one_line(failed.value)
    assert sum("Trying again" in line for line in caplog.messages) == 4


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_servers_that_restart_at_any_moment_interrupt_nothing(
    cluster: ClusterFactory, tmp_path: Path, mode: str
) -> None:
    server = cluster(synchronous_commit="on")  # or a crash forgets what was committed
    source, warehouse = prepare_source(server.dsn), prepare_warehouse(server.dsn)
    installation = Installation(source.owner, source.reader, warehouse.loader, tmp_path).filled(5)
    journey = CheckedInstallation(installation, installation.pipeline)

    installation.run()
    journey.note()
    for name in ("source.locked", "ingest.captured", "load.before-commit", "load.committed"):
        journey.change()
        with at(name, at_the(1, lambda: restart(server, mode))):
            installation.run()
        journey.note()
    journey.assert_whole()


# --- the disk ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte, where the user may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("may not mount a file system here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all the room there is left."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as rest:
        while rest.write(bytes(512)):
            pass
    return ballast


@pytest.mark.parametrize("which", ["ingestion", "processed"])
def test_a_full_disk_below_the_lake_is_one_line_and_room_heals_it(
    installation: Installation, small_disk: Path, tmp_path: Path, which: str
) -> None:
    pipeline = on(installation.pipeline, which, FolderStore(small_disk / "lake"))
    journey = CheckedInstallation(installation.filled(5), pipeline)
    list(run_once(pipeline))
    journey.note()
    journey.change()
    ballast = fill(small_disk)
    with pytest.raises(LakeError, match="No space left on device") as failed:
        list(run_once(pipeline))
    assert "with room" in one_line(failed.value)
    assert failed.value.exit_code == 4
    journey.note()
    ballast.unlink()
    assert_nothing_half(pipeline, tmp_path)
    list(run_once(pipeline))
    journey.note()
    journey.assert_whole()


class Filling(FaultyStore):
    """A store that is as it was, but the scratch disk is full after so many fetches."""

    def __init__(self, store: Store, disk: Path, fetches: int) -> None:
        super().__init__(store, lambda _operation, _key: None)
        self.disk, self.left = disk, fetches

    def fetch(self, key: str, path: Path) -> None:
        super().fetch(key, path)
        self.left -= 1
        if self.left == 0:
            fill(self.disk)


@pytest.mark.parametrize(
    ("stage", "fetches"),
    [("ingest", 0), ("ingest", 1), ("transform", 0), ("transform", 4), ("load", 0), ("load", 2)],
)
def test_a_full_scratch_disk_is_one_line_and_room_heals_it(
    journey: CheckedInstallation,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    stage: str,
    fetches: int,
) -> None:
    good = journey.pipeline
    journey.change()
    journey.installation.change(
        "DELETE FROM payment WHERE payment_id = (SELECT max(payment_id) FROM payment)"
    )
    for earlier in STAGES[: STAGES.index(stage)]:
        list(steps(good, earlier))
    journey.note()
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    stores = [Filling(store, small_disk, fetches) for store in (good.ingestion, good.processed)]
    if not fetches:
        fill(small_disk)
    with pytest.raises(LakeError, match="No space left on device") as failed:
        list(steps(replace(good, ingestion=stores[0], processed=stores[1]), stage))
    assert str(small_disk) in one_line(failed.value)
    (small_disk / "ballast").unlink()
    list(run_once(good))
    journey.note()
    journey.assert_whole()


# --- the clock -----------------------------------------------------------------------------------


def test_a_source_clock_that_jumps_back_and_forth_leaves_history_in_order(
    journey: CheckedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Captures are told apart by at least a tick, and in their order, whatever the clock says."""
    look = snapshot._LOOK
    for jump in ("-1 day", "1 day", "-1 hour", "0"):
        jumped = look.replace("clock_timestamp()", f"clock_timestamp() + interval '{jump}'")
        assert jumped != look
        monkeypatch.setattr(snapshot, "_LOOK", jumped)
        journey.change()
        journey.installation.run()
        journey.note()
    moments = [
        read_manifest(journey.pipeline.ingestion, batch)[0].captured_at for batch in range(1, 6)
    ]
    assert moments == sorted(set(moments))
    monkeypatch.setattr(snapshot, "_LOOK", look)
    journey.assert_whole()
