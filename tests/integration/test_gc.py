"""`totes gc` finds orphaned files, deletes old ones on request, and never deletes other files."""

import json
import os
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from faults import killed_at
from installation import Installation, at
from s3_service import S3Service

from totes.lake import open_deletable_store
from totes.lake.folder import INCOMPLETE, FolderStore
from totes.lake.store import DeletableStore
from totes.operations.gc import MIN_AGE, OrphanedFile, delete_orphaned_files, find_orphaned_files
from totes.operations.verify import verify
from totes.stages.replay import replay
from totes.stages.runner import run_once, run_stage

pytestmark = pytest.mark.few(3)

DAY = timedelta(days=1)
NEXT_WEEK = datetime.now(UTC) + 7 * DAY


def keys(files: Iterable[OrphanedFile]) -> list[str]:
    return [file.key for file in files]


def all_orphaned_files(installation: Installation) -> list[OrphanedFile]:
    stores = FolderStore(installation.ingestion), FolderStore(installation.processed)
    return [file for store in stores for file in find_orphaned_files(store)]


def make_older(installation: Installation, by: timedelta) -> None:
    """Set the modification time of all files in the lake back."""
    then = time.time() - by.total_seconds()
    for path in installation.folder.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


@pytest.fixture
def with_orphaned_files(installation: Installation) -> Installation:
    """An installation with files of ingests and a transform that were killed in batch 2."""
    installation.add_orders(5).run()
    installation.change("UPDATE sales_order SET units_sold = units_sold + 1")
    for command, name in (
        ("ingest", "ingest.before-manifest"),
        ("ingest", "folder.written"),
        ("run", "transform.before-manifest"),
    ):
        assert killed_at(installation.pipeline, command, name)
    return installation


def test_files_of_an_attempt_are_orphaned_once_their_batch_is_published_without_them(
    with_orphaned_files: Installation,
) -> None:
    names = {
        key.split("/")[0]
        for key in keys(find_orphaned_files(FolderStore(with_orphaned_files.ingestion)))
    }
    assert names >= {INCOMPLETE, "sales_order"}
    assert keys(find_orphaned_files(FolderStore(with_orphaned_files.processed))) == [], (
        "batch 2 may still be in progress"
    )
    with_orphaned_files.run()
    left = keys(find_orphaned_files(FolderStore(with_orphaned_files.processed)))
    assert {key.split("/")[1] for key in left} == {"fact_sales_order"}
    assert all("/000000000002-" in key for key in left)


def test_files_of_exchange_rates_are_not_orphaned(with_orphaned_files: Installation) -> None:
    """A function of its own stores them beside the tables, and no manifest names them."""
    before = all_orphaned_files(with_orphaned_files)
    assert FolderStore(with_orphaned_files.ingestion).create("rates/2026-11-27.zip", b"PK")
    assert keys(all_orphaned_files(with_orphaned_files)) == keys(before)


def test_only_old_files_are_deleted_and_only_on_request(with_orphaned_files: Installation) -> None:
    with_orphaned_files.run()
    before, _ = with_orphaned_files.state()
    found = {f"{file.url}/{file.key}" for file in all_orphaned_files(with_orphaned_files)}

    def gc(*arguments: str) -> list[dict[str, object]]:
        result = with_orphaned_files.totes("gc", "--json", *arguments)
        assert result.exit_code == 0, result.output
        listed: list[dict[str, object]] = json.loads(result.stdout)
        assert {f"{one['store']}/{one['key']}" for one in listed} == found
        return listed

    assert not any(one["removed"] for one in gc())
    assert not any(one["removed"] for one in gc("--remove"))
    make_older(with_orphaned_files, DAY / 2)
    assert not any(one["removed"] for one in gc("--remove"))
    assert with_orphaned_files.state()[0] == before
    listed = gc("--remove", "--older-than", "6h")
    assert all(one["removed"] for one in listed)
    assert all(43_000 < int(str(one["age_seconds"])) < 44_000 for one in listed)
    after, _ = with_orphaned_files.state()
    deleted = {str(with_orphaned_files.folder / name) for name in before.keys() - after.keys()}
    assert deleted == found
    assert after.items() <= before.items()
    assert with_orphaned_files.totes("gc").stdout == "0 orphaned files, 0 bytes.\n"
    assert verify(with_orphaned_files.pipeline).equal
    list(replay(with_orphaned_files.pipeline))
    assert verify(with_orphaned_files.pipeline).equal


def test_files_that_a_manifest_names_are_never_deleted(installation: Installation) -> None:
    """With two generations, state and live keys of several batches, quarantine, and a heartbeat."""
    installation.add_orders(5).run()
    installation.change("UPDATE payment SET payment_date = 'soon' WHERE payment_id = 1")
    installation.run()
    list(replay(installation.pipeline))
    installation.change("UPDATE department SET location = 'Hull'; DELETE FROM payment")
    installation.run()
    assert all_orphaned_files(installation) == []
    before = installation.state()
    make_older(installation, 1000 * DAY)
    assert installation.totes("gc", "--remove").exit_code == 0
    assert installation.state() == before


def test_files_of_a_store_inside_another_are_not_orphaned(installation: Installation) -> None:
    """`s3://bucket` and `s3://bucket/processed`, or the new store of an erasure in the old one."""
    inner = {name: str(installation.ingestion / name) for name in ("processed", "erased")}
    installation.add_orders(5).with_settings(processed_url=inner["processed"]).totes(
        "run", "--once"
    )
    erase = ["erase", "staff", "1", "--columns", "first_name", "--into", inner["erased"]]
    assert installation.totes(*erase).exit_code == 0
    assert {path.name for path in installation.ingestion.iterdir()} >= inner.keys()
    assert list(find_orphaned_files(FolderStore(installation.ingestion))) == []


def test_files_of_a_running_attempt_are_never_deleted(installation: Installation) -> None:
    """Not even if it has been running for weeks, or a wrong clock makes it look so."""
    installation.add_orders(5).run()
    installation.change("UPDATE sales_order SET units_sold = units_sold + 1")
    deleted: list[OrphanedFile] = []

    def delete_during_run() -> None:
        for folder in (installation.ingestion, installation.processed):
            store = FolderStore(folder)
            deleted.extend(
                delete_orphaned_files(store, find_orphaned_files(store), MIN_AGE, now=NEXT_WEEK)
            )

    with (
        at("ingest.before-manifest", delete_during_run),
        at("transform.before-manifest", delete_during_run),
    ):
        list(run_once(installation.pipeline))
    assert deleted == []
    assert verify(installation.pipeline).equal


def test_files_younger_than_an_hour_are_not_deleted(installation: Installation) -> None:
    installation.add_orders(5).run()
    (installation.ingestion / INCOMPLETE / "1-abc").write_bytes(b"half")
    store = FolderStore(installation.ingestion)
    [found] = find_orphaned_files(store)
    young = found.modified_at + MIN_AGE
    assert list(delete_orphaned_files(store, [found], timedelta(), now=young)) == []
    result = installation.totes("gc", "--remove", "--older-than", "59m")
    assert result.exit_code == 2
    assert "1h or more" in result.stderr
    assert list(delete_orphaned_files(store, [found], timedelta(), now=young + MIN_AGE)) == [found]
    assert list(find_orphaned_files(store)) == []


def test_nothing_is_deleted_if_a_manifest_can_not_be_read(installation: Installation) -> None:
    installation.add_orders(5).run()
    (installation.ingestion / INCOMPLETE / "1-abc").write_bytes(b"half")
    make_older(installation, 2 * DAY)
    manifest = installation.ingestion / "batches" / f"{1:012d}.json"
    manifest.chmod(0o644)
    manifest.write_bytes(b"{}")
    before = installation.state()
    assert installation.totes("gc", "--remove").exit_code == 4
    assert installation.state() == before


# --- both stores ---------------------------------------------------------------------------------


@dataclass
class Lake:
    ingestion: DeletableStore
    processed: DeletableStore


@pytest.fixture(params=["folder", "s3"])
def lake(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lake]:
    if request.param == "folder":
        yield Lake(
            open_deletable_store(str(tmp_path / "i")), open_deletable_store(str(tmp_path / "p"))
        )
        return
    with S3Service() as service:
        service.environment(monkeypatch)
        url = f"s3://{service.new_bucket()}/lake"
        yield Lake(open_deletable_store(f"{url}/i"), open_deletable_store(f"{url}/p"))


@pytest.mark.few(1)
def test_orphaned_files_are_found_and_deleted_in_every_store(
    installation: Installation, lake: Lake
) -> None:
    pipeline = replace(
        installation.add_orders(5).pipeline, ingestion=lake.ingestion, processed=lake.processed
    )
    list(run_once(pipeline))

    def interrupt() -> None:
        raise KeyboardInterrupt

    installation.change("UPDATE sales_order SET units_sold = units_sold + 1")
    with at("ingest.before-manifest", interrupt), pytest.raises(KeyboardInterrupt):
        list(run_stage(pipeline, "ingest"))
    assert list(find_orphaned_files(lake.ingestion)) == []
    list(run_once(pipeline))
    named = list(lake.processed.list(""))
    found = list(find_orphaned_files(lake.ingestion))
    assert {file.key.split("/")[0] for file in found} == {"sales_order"}
    assert all(file.size_bytes for file in found)
    assert abs(found[0].age(datetime.now(UTC))) < timedelta(minutes=5)
    assert list(delete_orphaned_files(lake.ingestion, found, DAY)) == []
    assert list(delete_orphaned_files(lake.ingestion, found, DAY, now=NEXT_WEEK)) == found
    assert list(find_orphaned_files(lake.ingestion)) == []
    assert not any(lake.ingestion.exists(file.key) for file in found)
    lake.ingestion.delete(found[0].key)  # deleting again is not an error
    assert list(lake.processed.list("")) == named
    assert verify(pipeline).equal
