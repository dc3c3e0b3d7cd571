"""`totes gc`: what is nobody's is found and, when asked and old, removed; nothing else ever is."""

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

from totes.lake import open_swept
from totes.lake.folder import INCOMING, FolderStore
from totes.lake.store import SweptStore
from totes.operations.gc import SHORTEST, Orphan, orphans, remove
from totes.operations.verify import verify
from totes.stages.replay import replay
from totes.stages.runner import run_once, steps

DAY = timedelta(days=1)
NEXT_WEEK = datetime.now(UTC) + 7 * DAY


def keys(found: Iterable[Orphan]) -> list[str]:
    return [orphan.key for orphan in found]


def all_orphans(installation: Installation) -> list[Orphan]:
    stores = FolderStore(installation.ingestion), FolderStore(installation.processed)
    return [orphan for store in stores for orphan in orphans(store)]


def aged(installation: Installation, by: timedelta) -> None:
    """Let all files of the lake be so much older."""
    then = time.time() - by.total_seconds()
    for path in installation.folder.rglob("*"):
        if path.is_file():
            os.utime(path, (then, then))


@pytest.fixture
def littered(installation: Installation) -> Installation:
    """Whose second batch was begun by an ingest and by a transform that were killed."""
    installation.filled(5).run()
    installation.change("UPDATE sales_order SET units_sold = units_sold + 1")
    for command, name in (
        ("ingest", "ingest.before-manifest"),
        ("ingest", "folder.written"),
        ("run", "transform.before-manifest"),
    ):
        assert killed_at(installation.pipeline, command, name)
    return installation


def test_files_of_an_attempt_are_orphans_once_their_batch_was_published_without_them(
    littered: Installation,
) -> None:
    names = {key.split("/")[0] for key in keys(orphans(FolderStore(littered.ingestion)))}
    assert names >= {INCOMING, "sales_order"}
    assert keys(orphans(FolderStore(littered.processed))) == [], "batch 2 may still be at work"
    littered.run()
    left = keys(orphans(FolderStore(littered.processed)))
    assert {key.split("/")[1] for key in left} == {"fact_sales_order"}
    assert all("/000000000002-" in key for key in left)


def test_it_lists_and_removes_only_when_asked_and_old(littered: Installation) -> None:
    littered.run()
    before, _ = littered.state()
    found = {f"{orphan.url}/{orphan.key}" for orphan in all_orphans(littered)}

    def gc(*arguments: str) -> list[dict[str, object]]:
        result = littered.totes("gc", "--json", *arguments)
        assert result.exit_code == 0, result.output
        listed: list[dict[str, object]] = json.loads(result.stdout)
        assert {f"{one['store']}/{one['key']}" for one in listed} == found
        return listed

    assert not any(one["removed"] for one in gc())
    assert not any(one["removed"] for one in gc("--remove"))
    aged(littered, DAY / 2)
    assert not any(one["removed"] for one in gc("--remove"))
    assert littered.state()[0] == before
    listed = gc("--remove", "--older-than", "6h")
    assert all(one["removed"] for one in listed)
    assert all(43_000 < int(str(one["age_seconds"])) < 44_000 for one in listed)
    after, _ = littered.state()
    gone = {str(littered.folder / name) for name in before.keys() - after.keys()}
    assert gone == found
    assert after.items() <= before.items()
    assert littered.totes("gc").stdout == "0 orphans, 0 bytes.\n"
    assert verify(littered.pipeline).equal
    list(replay(littered.pipeline))
    assert verify(littered.pipeline).equal


def test_what_is_named_is_never_removed_however_old(installation: Installation) -> None:
    """Two generations, state and live keys over several batches, quarantine, a heartbeat."""
    installation.filled(5).run()
    installation.change("UPDATE payment SET payment_date = 'soon' WHERE payment_id = 1")
    installation.run()
    list(replay(installation.pipeline))
    installation.change("UPDATE department SET location = 'Hull'; DELETE FROM payment")
    installation.run()
    assert all_orphans(installation) == []
    before = installation.state()
    aged(installation, 1000 * DAY)
    assert installation.totes("gc", "--remove").exit_code == 0
    assert installation.state() == before


def test_a_store_inside_another_is_not_its_litter(installation: Installation) -> None:
    """`s3://bucket` and `s3://bucket/processed`, or the new store of an erasure in the old one."""
    within = {name: str(installation.ingestion / name) for name in ("processed", "anew")}
    installation.filled(5).having(processed_url=within["processed"]).totes("run", "--once")
    erase = ["erase", "staff", "1", "--columns", "first_name", "--into", within["anew"]]
    assert installation.totes(*erase).exit_code == 0
    assert {path.name for path in installation.ingestion.iterdir()} >= within.keys()
    assert list(orphans(FolderStore(installation.ingestion))) == []


def test_what_an_attempt_at_work_has_written_is_never_removed(installation: Installation) -> None:
    """Not even where it has been at work for weeks, or a clock says so."""
    installation.filled(5).run()
    installation.change("UPDATE sales_order SET units_sold = units_sold + 1")
    swept: list[Orphan] = []

    def sweep() -> None:
        for folder in (installation.ingestion, installation.processed):
            store = FolderStore(folder)
            swept.extend(remove(store, orphans(store), SHORTEST, now=NEXT_WEEK))

    with at("ingest.before-manifest", sweep), at("transform.before-manifest", sweep):
        list(run_once(installation.pipeline))
    assert swept == []
    assert verify(installation.pipeline).equal


def test_nothing_younger_than_an_hour_is_removed(installation: Installation) -> None:
    installation.filled(5).run()
    (installation.ingestion / INCOMING / "1-abc").write_bytes(b"half")
    store = FolderStore(installation.ingestion)
    [found] = orphans(store)
    young = found.modified_at + SHORTEST
    assert list(remove(store, [found], timedelta(), now=young)) == []
    result = installation.totes("gc", "--remove", "--older-than", "59m")
    assert result.exit_code == 2
    assert "1h or more" in result.stderr
    assert list(remove(store, [found], timedelta(), now=young + SHORTEST)) == [found]
    assert list(orphans(store)) == []


def test_where_a_manifest_cannot_be_read_nothing_is_removed(installation: Installation) -> None:
    installation.filled(5).run()
    (installation.ingestion / INCOMING / "1-abc").write_bytes(b"half")
    aged(installation, 2 * DAY)
    manifest = installation.ingestion / "batches" / f"{1:012d}.json"
    manifest.chmod(0o644)
    manifest.write_bytes(b"{}")
    before = installation.state()
    assert installation.totes("gc", "--remove").exit_code == 4
    assert installation.state() == before


# --- both stores ---------------------------------------------------------------------------------


@dataclass
class Lake:
    ingestion: SweptStore
    processed: SweptStore


@pytest.fixture(params=["folder", "s3"])
def lake(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Lake]:
    if request.param == "folder":
        yield Lake(open_swept(str(tmp_path / "i")), open_swept(str(tmp_path / "p")))
        return
    with S3Service() as service:
        service.environment(monkeypatch)
        url = f"s3://{service.new_bucket()}/lake"
        yield Lake(open_swept(f"{url}/i"), open_swept(f"{url}/p"))


def test_orphans_are_found_and_removed_in_every_store(
    installation: Installation, lake: Lake
) -> None:
    pipeline = replace(
        installation.filled(5).pipeline, ingestion=lake.ingestion, processed=lake.processed
    )
    list(run_once(pipeline))

    def die() -> None:
        raise KeyboardInterrupt

    installation.change("UPDATE sales_order SET units_sold = units_sold + 1")
    with at("ingest.before-manifest", die), pytest.raises(KeyboardInterrupt):
        list(steps(pipeline, "ingest"))
    assert list(orphans(lake.ingestion)) == []
    list(run_once(pipeline))
    named = list(lake.processed.list(""))
    found = list(orphans(lake.ingestion))
    assert {orphan.key.split("/")[0] for orphan in found} == {"sales_order"}
    assert all(orphan.size_bytes for orphan in found)
    assert abs(found[0].age(datetime.now(UTC))) < timedelta(minutes=5)
    assert list(remove(lake.ingestion, found, DAY)) == []
    assert list(remove(lake.ingestion, found, DAY, now=NEXT_WEEK)) == found
    assert list(orphans(lake.ingestion)) == []
    assert not any(lake.ingestion.exists(orphan.key) for orphan in found)
    lake.ingestion.remove(found[0].key)  # what is gone is gone
    assert list(lake.processed.list("")) == named
    assert verify(pipeline).equal
