"""Large tables that are captured in full are read by several processes, over one snapshot."""

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event, Thread

import lake_reader
import psutil
import pytest
from depth import seeded_random
from resumed_capture import capture_killed
from scratch_source import CREATE_ITEM, INSERT_ITEMS, ScratchSource

from totes import failpoint
from totes.errors import SourceError, SourceUnavailable
from totes.lake.manifest import Manifest
from totes.source import scan, worker

pytestmark = pytest.mark.few(2)


@pytest.fixture(autouse=True)
def several_workers(small_pieces: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    monkeypatch.setattr(scan, "_WORKER_BYTES", 1)


def with_connections(source: ScratchSource, connections: int) -> ScratchSource:
    """The same source with a lake of its own, read over so many connections."""
    return replace(
        source,
        lake=source.lake.with_name(f"lake-{connections}"),
        scope=replace(source.scope, connections=connections),
    )


def add_items(source: ScratchSource, connections: int, rows: int = 4000) -> ScratchSource:
    """The same with a table of so many items, which is not captured yet."""
    source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(rows)}")
    return with_connections(source, connections)


def workers() -> list[psutil.Process]:
    children = psutil.Process().children(recursive=True)
    return [child for child in children if worker.__name__ in " ".join(child.cmdline())]


@contextmanager
def writing(source: ScratchSource) -> Iterator[None]:
    """Change the table in other transactions all the time."""
    stop = Event()

    def write() -> None:
        chance = seeded_random()
        with source.open() as connection:
            number = 100_000
            while not stop.is_set():
                number += 1
                connection.execute("INSERT INTO item VALUES (%s, 'late', 1)", [number])
                connection.execute(
                    "UPDATE item SET name = %s WHERE id %% 97 = %s", [str(number), number % 97]
                )
                connection.execute("DELETE FROM item WHERE id = %s", [chance.randint(1, 4000)])
                connection.commit()

    thread = Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def published(batch: Manifest | None) -> Manifest:
    assert batch is not None
    return batch


def test_the_lake_is_equal_however_many_processes_read_while_rows_are_written(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All rows and keys of the same snapshot; later changes are in the next batch."""
    scratch_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(4000)}")
    scratch_source.run("CREATE TABLE log (n int, at timestamptz DEFAULT now());")
    scratch_source.run("INSERT INTO log SELECT i % 7 FROM generate_series(1, 3000) i")
    most: list[int] = []
    monkeypatch.setitem(failpoint.actions, "ingest.captured", lambda: None)
    monkeypatch.setitem(
        failpoint.actions, "unfinished.piece-stored", lambda: most.append(len(workers()))
    )
    sources = [with_connections(scratch_source, number) for number in (1, 2, 4)]
    snapshots = []
    with writing(scratch_source):
        for source in sources:
            batch = published(source.capture())
            snapshots.append(batch.table("item"))
            assert max(most) == source.scope.connections - 1
            most.clear()
    assert workers() == []
    for source, entry in zip(sources, snapshots, strict=True):
        assert entry is not None
        first = lake_reader.batches(source.store)[0]
        assert len(lake_reader.lines(source.store, first, "item")) == entry.rows
        assert entry.keys[0].rows == entry.rows
        source.capture()
        assert source.lake_equals_source()
        assert source.lake_equals_source("log")
        assert not [t for t in lake_reader.batches(source.store)[1].tables if t.whole]
    contents = {lake_reader.batches(source.store)[0].table("log") for source in sources}
    assert len({entry.content_digest for entry in contents if entry}) == 1, "the hash of its rows"


def test_values_that_cannot_be_read_and_strange_keys_pass_through_processes(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.run(
        'CREATE TABLE item (id text, "Id" int, note text, PRIMARY KEY (id, "Id"));'
        "INSERT INTO item SELECT E'a\\t\"\\\\' || i, i, repeat(chr(1 + i % 300), 100)"
        " FROM generate_series(1, 3000) i"
    )
    source = with_connections(scratch_source, 3)
    assert source.capture() is not None
    assert source.lake_equals_source()


def test_a_small_batch_starts_no_process(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if the table is large: the server finds what has changed."""
    source = add_items(scratch_source, 4)
    monkeypatch.setattr(scan, "_WORKER_BYTES", 128 << 20)

    def fail(*_: object) -> None:
        raise AssertionError("a process is started")

    monkeypatch.setattr(worker.Worker, "__init__", fail)
    assert source.capture() is not None
    monkeypatch.setattr(scan, "_WORKER_BYTES", 1)
    source.run("UPDATE item SET name = '' WHERE id % 10 = 0; DELETE FROM item WHERE id = 1")
    assert len(source.changes()) == 401


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_that_is_killed_is_one_error_and_the_capture_can_be_continued(
    scratch_source: ScratchSource, ending: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = add_items(scratch_source, 3)

    def end_worker() -> None:
        for process in workers():
            process.send_signal(ending)

    monkeypatch.setitem(failpoint.actions, "unfinished.piece-stored", end_worker)
    with pytest.raises(SourceUnavailable, match=f"read table item was killed by signal {ending:d}"):
        source.capture()
    assert workers() == []
    monkeypatch.delitem(failpoint.actions, "unfinished.piece-stored")
    assert source.capture() is not None
    assert source.lake_equals_source()


def test_an_error_in_a_process_is_the_errors_one_line(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here every process is given a snapshot that does not exist."""
    source = add_items(scratch_source, 3)
    start = worker.Worker.__init__
    monkeypatch.setattr(
        worker.Worker,
        "__init__",
        lambda self, needs: start(self, replace(needs, exported="1-1-1")),
    )
    with pytest.raises(SourceError) as error:
        source.capture()
    assert "\n" not in str(error.value)
    assert workers() == []


CAPTURE = """
import sys
from pathlib import Path
from totes import failpoint
from totes.config.dsn import Dsn
from totes.lake.folder import FolderStore
from totes.source import scan, splitting
from totes.source.catalogue import CaptureScope
from totes.stages.ingest import ingest

splitting._RANGE_BYTES, splitting._RANGES_PER_PIECE, scan._WORKER_BYTES = 16 << 10, 2, 1

def tell():
    print("reading", flush=True)
    sys.stdin.readline()

failpoint.actions["unfinished.piece-stored"] = tell
ingest(Dsn(sys.stdin.readline().strip()), FolderStore(Path(sys.argv[1])),
       CaptureScope("scratch", connections=3))
"""


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT])
def test_no_process_outlives_its_parent(
    scratch_source: ScratchSource, ending: signal.Signals, tmp_path: Path
) -> None:
    """And none has the password in its arguments or environment."""
    scratch_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(6000)}")
    secret = "not-for-other-users"
    command = [sys.executable, "-c", CAPTURE, str(tmp_path / "lake")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(f"{scratch_source.dsn.replace(password=secret).reveal()}\n")
        parent.stdin.flush()
        assert parent.stdout.readline() == "reading\n"
        children = psutil.Process(parent.pid).children(recursive=True)
        assert len(children) == 2
        for child in children:
            shown = [*child.cmdline(), *child.environ().values()]
            assert not [text for text in shown if secret in text]
        parent.send_signal(ending)
        parent.stdin.close()  # a thread of it waits for that
        parent.wait(60)
    _, alive = psutil.wait_procs(children, 60)
    assert alive == []


def test_messages_of_a_process_are_in_the_parents_log(
    scratch_source: ScratchSource, caplog: pytest.LogCaptureFixture
) -> None:
    source = add_items(scratch_source, 2, rows=6000)
    assert capture_killed(source, "ingest.captured", 1)
    for path in (source.lake / "keys").rglob("*.parquet"):
        path.unlink()
    caplog.set_level(logging.WARNING)
    assert source.capture() is not None
    repeated = [record for record in caplog.records if "is read again" in record.message]
    assert len(repeated) > 10
    assert source.lake_equals_source()
    assert os.getpid() == caplog.records[0].process
