"""Faults of stores, servers, disks and clocks: one error, and the next run continues."""

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from checked_installation import CheckedInstallation
from depth import sample, seeded_random
from faults import (
    CASES,
    COMMIT,
    Cut,
    Drawn,
    Fault,
    FaultyStore,
    Given,
    Proxy,
    on_nth_call,
    restart,
    terminate,
)
from installation import Installation, at

from conftest import ClusterFactory
from totes.embedded.servers import EmbeddedServer, prepare_source, prepare_warehouse
from totes.errors import (
    LakeError,
    SourceUnavailable,
    TotesError,
    WarehouseUnavailable,
)
from totes.lake import Store
from totes.lake.folder import FolderStore
from totes.lake.manifest import manifest_path, processed_manifest_path
from totes.lake.manifests import (
    fetch_verified,
    find_newest_number,
    read_manifest,
    read_processed_manifest,
)
from totes.source import snapshot
from totes.stages.runner import STAGES, Pipeline, run_once, run_stage

pytestmark = [
    pytest.mark.bare,  # creating the warehouse's tables may fail, too
    pytest.mark.usefixtures("no_pauses"),
    pytest.mark.few(4),
]


@pytest.fixture
def journey(installation: Installation) -> CheckedInstallation:
    """An installation with one loaded batch."""
    loaded = CheckedInstallation(installation.add_orders(5), installation.pipeline)
    installation.run()
    loaded.record_batches()
    return loaded


def assert_batches_are_complete(pipeline: Pipeline, folder: Path) -> None:
    """Assert that the files of every published batch match its manifest."""
    for batch in range(1, find_newest_number(pipeline.ingestion, manifest_path) + 1):
        manifest, _ = read_manifest(pipeline.ingestion, batch)
        for table in manifest.tables:
            for file in (*table.files, *table.keys):
                fetch_verified(pipeline.ingestion, file, folder / "file")
    for batch in range(
        1, find_newest_number(pipeline.processed, lambda n: processed_manifest_path(1, n)) + 1
    ):
        processed, _ = read_processed_manifest(pipeline.processed, 1, batch)
        for star_file in (*processed.files, *processed.rejected):
            fetch_verified(pipeline.processed, star_file, folder / "file")


def with_store(pipeline: Pipeline, which: str, store: Store) -> Pipeline:
    """Return the pipeline with another ingestion or processed store."""
    if which == "ingestion":
        return replace(pipeline, ingestion=store)
    return replace(pipeline, processed=store)


def one_line(error: BaseException) -> str:
    assert isinstance(error, TotesError)
    assert "\n" not in str(error)
    return str(error)


# --- the lake ------------------------------------------------------------------------------------


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        pytest.param(*case, id=f"{case[0]} {case[1].value}")
        for fault in (Fault.BEFORE, Fault.AFTER, Fault.STALE, Fault.CORRUPT)
        for case in sample(1, [case for case in CASES if case[1] is fault], fault.name)
    ],
)
def test_a_store_that_fails_once_loses_nothing(
    journey: CheckedInstallation, tmp_path: Path, operation: str, fault: Fault
) -> None:
    good = journey.pipeline
    happened = 0
    for stage in STAGES:
        journey.change()
        for earlier in STAGES[: STAGES.index(stage)]:
            list(run_stage(good, earlier))
        for which, nth in product(("ingestion", "processed"), (1, 3)):
            store = FaultyStore(getattr(good, which), Given(operation, fault, nth))
            failure = run_and_return_error(with_store(good, which, store), stage)
            assert failure is None or (store.happened and isinstance(failure, LakeError))
            if store.happened["fetch", Fault.CORRUPT]:
                assert failure is not None
                assert "its SHA-256 differs from the manifest's" in str(failure)
            happened += store.happened.total()
        journey.record_batches()
        list(run_once(good))
        journey.record_batches()
    assert_batches_are_complete(good, tmp_path)
    journey.assert_correct()
    assert happened or operation == "list", "no stage does this"


def run_and_return_error(pipeline: Pipeline, stage: str) -> TotesError | None:
    """Return the error with which a stage fails, which has one line; None if it succeeds."""
    try:
        list(run_stage(pipeline, stage))
    except TotesError as error:
        one_line(error)
        return error
    return None


def test_a_slow_store_loses_nothing(journey: CheckedInstallation) -> None:
    journey.change()
    plan = Drawn(seeded_random(), 0.5, [Fault.SLOW])
    slow = [
        FaultyStore(store, plan)
        for store in (journey.pipeline.ingestion, journey.pipeline.processed)
    ]
    list(run_once(replace(journey.pipeline, ingestion=slow[0], processed=slow[1])))
    assert all(store.happened for store in slow)
    journey.record_batches()
    journey.assert_correct()


def test_a_store_that_always_fails_has_the_exit_code_of_the_lake(
    journey: CheckedInstallation,
) -> None:
    journey.change()
    store = FaultyStore(journey.pipeline.ingestion, Given("put", Fault.BEFORE, times=10**6))
    with pytest.raises(LakeError) as failed:
        list(run_once(replace(journey.pipeline, ingestion=store)))
    assert failed.value.exit_code == 4


# --- connections ---------------------------------------------------------------------------------


@pytest.mark.parametrize("received_bytes", sample(1, [1_000, 8_000, 20_000, 40_000], "cut"))
def test_a_lost_connection_to_the_source_is_retried(
    journey: CheckedInstallation, server: EmbeddedServer, received_bytes: int
) -> None:
    with Proxy(server.dsn) as proxy:
        cuttable = replace(journey.pipeline, source=proxy.through(journey.pipeline.source))
        journey.installation.change("UPDATE payment SET company_ac_number = company_ac_number + 1")
        journey.installation.change("ALTER TABLE address ADD note text")  # is captured in full
        proxy.cut = Cut(received_bytes=received_bytes)
        with pytest.raises(SourceUnavailable) as failed:
            list(run_stage(cuttable, "ingest"))
        assert "can't be read" in one_line(failed.value)
        assert failed.value.exit_code == 3
        proxy.cut = Cut(received_bytes=received_bytes)
        list(run_once(cuttable))  # retries
        assert proxy.cuts == 2
    journey.record_batches()
    journey.assert_correct()


@pytest.mark.few(1)
@pytest.mark.parametrize("answered", [False, True], ids=["before", "after"])
def test_a_connection_lost_before_or_after_the_commit_loads_the_batch_once(
    journey: CheckedInstallation, server: EmbeddedServer, *, answered: bool
) -> None:
    with Proxy(server.dsn) as proxy:
        cuttable = replace(journey.pipeline, warehouse=proxy.through(journey.pipeline.warehouse))
        journey.change()
        for stage in ("ingest", "transform"):
            list(run_stage(journey.pipeline, stage))
        journey.record_batches()
        proxy.cut = Cut(COMMIT, answered=answered)
        with pytest.raises(WarehouseUnavailable) as failed:
            list(run_stage(cuttable, "load"))
        assert "server closed the connection" in one_line(failed.value)
        loaded = journey.installation.query("SELECT max(batch) FROM totes.batches")
        assert loaded == [(2 if answered else 1,)]
        list(run_once(journey.pipeline))
        journey.change()
        proxy.cut = Cut(COMMIT, answered=answered)
        list(run_once(cuttable))
        assert proxy.cuts == 2
    journey.record_batches()
    journey.assert_correct()


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("name", "application"),
    sample(
        2,
        [
            ("source.locked", "totes ingest"),
            ("ingest.before-file", "totes ingest"),
            ("ingest.before-manifest", "totes ingest"),
            ("load.fetched", "totes"),
            ("load.before-commit", "totes"),
            ("load.committed", "totes"),
            ("checked.before-commit", "totes"),
        ],
        "ended",
    ),
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
    with at(name, on_nth_call(1, end)):
        journey.installation.run()
    assert ended
    journey.record_batches()
    journey.assert_correct()


def test_an_unreachable_server_is_one_error_after_four_retries(
    journey: CheckedInstallation, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = journey.installation.source.replace(host="127.0.0.1", port="1")
    with caplog.at_level("INFO", "totes"), pytest.raises(SourceUnavailable) as failed:
        list(run_once(replace(journey.pipeline, source=nowhere)))
    assert "refused" in one_line(failed.value)
    assert sum("Retrying in" in line for line in caplog.messages) == 4


@pytest.mark.parametrize("mode", sample(1, ["fast", "immediate"], "restart"))
def test_a_server_restart_at_any_step_is_retried(
    cluster: ClusterFactory, tmp_path: Path, mode: str
) -> None:
    server = cluster(synchronous_commit="on")  # without it a crash may lose committed transactions
    source, warehouse = prepare_source(server.dsn), prepare_warehouse(server.dsn)
    installation = Installation(source.owner, source.reader, warehouse.loader, tmp_path).add_orders(
        5
    )
    journey = CheckedInstallation(installation, installation.pipeline)

    installation.run()
    journey.record_batches()
    for name in ("source.locked", "ingest.captured", "load.before-commit", "load.committed"):
        journey.change()
        with at(name, on_nth_call(1, lambda: restart(server, mode))):
            installation.run()
        journey.record_batches()
    journey.assert_correct()


# --- the disk ------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte; skips the test if the user may not mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this user may not mount a file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Fill the disk; return the file that does so."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as rest:
        while rest.write(bytes(512)):
            pass
    return ballast


@pytest.mark.few(1)
@pytest.mark.parametrize("which", ["ingestion", "processed"])
def test_a_full_disk_of_the_lake_is_one_error_and_the_next_run_continues(
    installation: Installation, small_disk: Path, tmp_path: Path, which: str
) -> None:
    pipeline = with_store(installation.pipeline, which, FolderStore(small_disk / "lake"))
    journey = CheckedInstallation(installation.add_orders(5), pipeline)
    list(run_once(pipeline))
    journey.record_batches()
    journey.change()
    ballast = fill(small_disk)
    with pytest.raises(LakeError, match="No space left on device") as failed:
        list(run_once(pipeline))
    assert "with free space" in one_line(failed.value)
    assert failed.value.exit_code == 4
    journey.record_batches()
    ballast.unlink()
    assert_batches_are_complete(pipeline, tmp_path)
    list(run_once(pipeline))
    journey.record_batches()
    journey.assert_correct()


class DiskFillingStore(FaultyStore):
    """A store that fills the scratch disk after a number of fetches."""

    def __init__(self, store: Store, disk: Path, fetches: int) -> None:
        super().__init__(store, lambda _operation, _key: None)
        self.disk, self.left = disk, fetches

    def fetch(self, key: str, path: Path) -> None:
        super().fetch(key, path)
        self.left -= 1
        if self.left == 0:
            fill(self.disk)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("stage", "fetches"),
    [
        case
        for stage, fetches in (("ingest", (0, 1)), ("transform", (0, 4)), ("load", (0, 2)))
        for case in sample(1, product([stage], fetches), f"full disk {stage}")
    ],
)
def test_a_full_scratch_disk_is_one_error_and_the_next_run_continues(
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
        list(run_stage(good, earlier))
    journey.record_batches()
    monkeypatch.setattr(tempfile, "tempdir", str(small_disk))
    stores = [
        DiskFillingStore(store, small_disk, fetches) for store in (good.ingestion, good.processed)
    ]
    if not fetches:
        fill(small_disk)
    with pytest.raises(LakeError, match="No space left on device") as failed:
        list(run_stage(replace(good, ingestion=stores[0], processed=stores[1]), stage))
    assert str(small_disk) in one_line(failed.value)
    (small_disk / "ballast").unlink()
    list(run_once(good))
    journey.record_batches()
    journey.assert_correct()


# --- the clock -----------------------------------------------------------------------------------


def test_capture_times_increase_although_the_sources_clock_jumps(
    journey: CheckedInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each capture time is at least a microsecond after the one before."""
    original = snapshot._SNAPSHOT_QUERY
    for jump in ("-1 day", "1 day", "-1 hour", "0"):
        jumped = original.replace("clock_timestamp()", f"clock_timestamp() + interval '{jump}'")
        assert jumped != original
        monkeypatch.setattr(snapshot, "_SNAPSHOT_QUERY", jumped)
        journey.change()
        journey.installation.run()
        journey.record_batches()
    moments = [
        read_manifest(journey.pipeline.ingestion, batch)[0].captured_at for batch in range(1, 6)
    ]
    assert moments == sorted(set(moments))
    monkeypatch.setattr(snapshot, "_SNAPSHOT_QUERY", original)
    journey.assert_correct()
