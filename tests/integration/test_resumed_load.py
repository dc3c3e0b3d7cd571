"""A capture of large tables that is killed goes on where it was, and is equal to the source."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
from depth import sample
from faults import killed_at, on_nth_call
from log_source import LogSource, entry
from resumed_capture import (
    ACCEPT_DELETES,
    FAILPOINTS,
    Killed,
    capture_killed,
)
from scratch_source import CREATE_ITEM, INSERT_ITEMS, ScratchSource

from totes import failpoint
from totes.lake import open_deletable_store
from totes.lake.unfinished import Attempt, UnfinishedBatch
from totes.operations.gc import find_orphaned_files
from totes.source import changes, keys, splitting
from totes.source.catalogue import SourceTable
from totes.source.ranges import RowRange
from totes.source.snapshot import read_label_digest
from totes.stages.runner import Pipeline, run_stage

pytestmark = [pytest.mark.few(5), pytest.mark.usefixtures("small_pieces")]


@pytest.fixture
def read_whole(monkeypatch: pytest.MonkeyPatch) -> list[range]:
    """The blocks of table item of which all rows were read, as a list that grows."""
    blocks: list[range] = []
    read = changes.read_range

    def watched(*arguments: object, **options: object) -> changes.Chunk:
        _, table, _, horizon, row_range = arguments
        assert isinstance(table, SourceTable)
        if horizon is None and table.name == "item":
            assert isinstance(row_range, RowRange)
            blocks.append(range(row_range.block, row_range.block + row_range.blocks))
        return read(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(changes, "read_range", watched)
    return blocks


def stored_blocks(source: ScratchSource, batch: int = 1) -> set[int]:
    unfinished = UnfinishedBatch(source.store, batch)
    return {
        block
        for name, _ in unfinished.attempts()
        for piece in unfinished.pieces(name, "item")
        for block in range(piece.first_block, piece.end_block)
    }


def killed_half_way(source: ScratchSource, rows: int = 3000) -> set[int]:
    """Create a table and capture about half of it; return the blocks that are stored."""
    source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(rows)}")
    assert capture_killed(source, "unfinished.piece-stored", 4)
    blocks = stored_blocks(source)
    assert blocks
    return blocks


def test_what_is_stored_is_not_read_again(
    scratch_source: ScratchSource, read_whole: list[range]
) -> None:
    """Of changed pieces, only the changed rows are read."""
    stored = killed_half_way(scratch_source)
    scratch_source.run(
        "UPDATE item SET name = 'changed' WHERE id % 50 = 0; DELETE FROM item WHERE id % 50 = 1;"
        f"{INSERT_ITEMS.format(3001)} ON CONFLICT DO NOTHING"
    )
    read_whole.clear()
    assert capture_killed(scratch_source, "ingest.captured", 1)
    read = {block for blocks in read_whole for block in blocks}
    assert read
    assert not read & stored
    stored = stored_blocks(scratch_source)
    assert stored >= read
    read_whole.clear()
    assert scratch_source.capture() is not None
    assert not {block for blocks in read_whole for block in blocks} & stored
    assert scratch_source.lake_equals_source()


def test_unchanged_pieces_keep_their_files(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that only moved out of a piece, or were changed in it, need no other row's key."""
    killed_half_way(scratch_source)
    unfinished = UnfinishedBatch(scratch_source.store, 1)
    [(attempt, _)] = unfinished.attempts()
    before = {piece.lines.path for piece in unfinished.pieces(attempt, "item") if piece.lines}

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("no key is read")

    monkeypatch.setattr(keys, "read_keys", fail)
    batch = scratch_source.capture()
    assert batch is not None
    assert before <= {file.path for file in batch.tables[0].files}


def remove_key_file(source: ScratchSource) -> None:
    [path, *_] = sorted((source.lake / "keys").rglob("*.parquet"))
    path.unlink()


def damage_lines(source: ScratchSource) -> None:
    for path in source.lake.glob("item/**/*.jsonl.gz"):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes()[:-1] + b"?")


def damage_records(source: ScratchSource) -> None:
    for path in (source.lake / "unfinished").rglob("*-*.json"):
        path.chmod(0o644)
        path.write_bytes(path.read_bytes().replace(b'"rows": ', b'"rows": 1'))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (remove_key_file, "A piece of table item is read again: There is no object keys/item"),
        (damage_lines, "is damaged: its SHA-256 differs"),
        (damage_records, "can't be used: what it records is read again"),
    ],
)
def test_missing_and_damaged_files_are_read_again_from_the_source(
    scratch_source: ScratchSource,
    damage: Callable[[ScratchSource], None],
    message: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    killed_half_way(scratch_source)
    damage(scratch_source)
    assert scratch_source.capture() is not None
    assert message in caplog.text
    assert scratch_source.lake_equals_source()


STALE = {
    "another table of that name": (
        "ALTER TABLE item RENAME TO old; CREATE TABLE item (LIKE old INCLUDING ALL);"
        "INSERT INTO item SELECT id, 'new', price FROM old"
    ),
    "an added column": "ALTER TABLE item ADD COLUMN extra text DEFAULT 'x'",
    "a rewrite": "VACUUM FULL item",
    "a truncation": f"TRUNCATE item; {INSERT_ITEMS.format(2000)}",
}


def test_rows_of_recent_transactions_that_are_stored_are_not_stored_twice(
    scratch_source: ScratchSource,
) -> None:
    """They are read again, because an older transaction was still running."""
    scratch_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(3000)}")
    with scratch_source.open() as late:
        late.execute("SELECT pg_current_xact_id()")
        scratch_source.run("UPDATE item SET name = 'recent' WHERE id % 3 = 0")
        scratch_source.run("VACUUM item")
        assert capture_killed(scratch_source, "unfinished.piece-stored", 4)
    scratch_source.run("UPDATE item SET name = 'changed' WHERE id % 20 = 0")
    assert scratch_source.capture() is not None
    assert scratch_source.lake_equals_source()


@pytest.mark.parametrize("change", STALE.values(), ids=STALE)
def test_pieces_of_a_table_that_was_altered_or_rewritten_are_not_used(
    scratch_source: ScratchSource, change: str, read_whole: list[range]
) -> None:
    killed_half_way(scratch_source)
    scratch_source.run("DELETE FROM item WHERE id % 7 = 0")
    scratch_source.run(change)
    read_whole.clear()
    assert scratch_source.capture() is not None
    assert min(blocks.start for blocks in read_whole) == 0
    assert scratch_source.lake_equals_source()


OTHER: Mapping[str, Callable[[Attempt], dict[str, object]]] = {
    "another server": lambda attempt: {
        "identity": attempt.identity.model_copy(update={"system_identifier": "1"})
    },
    "another timeline": lambda attempt: {
        "identity": attempt.identity.model_copy(update={"timeline": 99})
    },
    "labels that were renamed": lambda _: {"labels": "other"},
    "a later state": lambda _: {"snapshot": "9000000000:9000000000:"},
}


@pytest.mark.parametrize("other", OTHER.values(), ids=OTHER)
def test_pieces_of_another_source_or_of_a_later_state_are_not_used(
    scratch_source: ScratchSource,
    other: Callable[[Attempt], dict[str, object]],
    monkeypatch: pytest.MonkeyPatch,
    read_whole: list[range],
) -> None:
    """For example after a backup was restored, or from a standby that lags."""
    add_attempt = UnfinishedBatch.add_attempt
    with monkeypatch.context() as patch:
        patch.setattr(
            UnfinishedBatch,
            "add_attempt",
            lambda self, attempt: add_attempt(self, attempt.model_copy(update=other(attempt))),
        )
        killed_half_way(scratch_source)
    read_whole.clear()
    assert scratch_source.capture() is not None
    assert min(blocks.start for blocks in read_whole) == 0
    assert scratch_source.lake_equals_source()


def test_an_excluded_table_is_left_out_and_one_that_is_back_is_continued(
    scratch_source: ScratchSource, read_whole: list[range]
) -> None:
    stored = killed_half_way(scratch_source)
    scratch_source.run("CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)")
    without = replace(scratch_source, scope=replace(scratch_source.scope, exclude=("item",)))
    assert capture_killed(without, "ingest.captured", 1)
    read_whole.clear()
    batch = scratch_source.capture()
    assert batch is not None
    assert {table.name for table in batch.tables} == {"item", "other"}
    assert not {block for blocks in read_whole for block in blocks} & stored
    assert scratch_source.lake_equals_source()


def test_a_table_that_is_captured_whole_again_is_continued_too(
    scratch_source: ScratchSource, read_whole: list[range]
) -> None:
    """With deletions since the batch before, which only a comparison of all keys finds."""
    scratch_source.add_items(3000)
    scratch_source.run("ALTER TABLE item ADD COLUMN extra int DEFAULT 1")
    scratch_source.run("DELETE FROM item WHERE id % 100 = 0")
    assert capture_killed(scratch_source, "unfinished.piece-stored", 4)
    stored = stored_blocks(scratch_source, 2)
    orphaned = find_orphaned_files(open_deletable_store(str(scratch_source.lake)))
    assert not [file for file in orphaned if "000000000002" in file.key]
    scratch_source.run("DELETE FROM item WHERE id % 100 = 1")
    read_whole.clear()
    batch = scratch_source.capture()
    assert batch is not None
    assert batch.tables[0].whole
    assert not {block for blocks in read_whole for block in blocks} & stored
    assert sum(file.deletes for file in batch.tables[0].files) == 60
    assert scratch_source.lake_equals_source()


def test_gc_keeps_what_an_unfinished_capture_needs_and_deletes_it_afterwards(
    scratch_source: ScratchSource,
) -> None:
    killed_half_way(scratch_source)
    store = open_deletable_store(str(scratch_source.lake))
    assert list(find_orphaned_files(store)) == []
    batch = scratch_source.capture()
    assert batch is not None
    for file in [*find_orphaned_files(store)]:
        store.delete(file.key)
    assert not list((scratch_source.lake / "unfinished").rglob("*.json"))
    assert list(find_orphaned_files(store)) == []
    needed = {file.path for file in (*batch.tables[0].files, *batch.tables[0].keys)}
    assert needed == {item.key for item in store.list_objects()} - {"batches/000000000001.json"}
    assert scratch_source.lake_equals_source()


def test_progress_of_an_unfinished_capture_is_measured(scratch_source: ScratchSource) -> None:
    assert UnfinishedBatch(scratch_source.store, 1).measure() is None
    blocks = killed_half_way(scratch_source)
    stored = UnfinishedBatch(scratch_source.store, 1).measure()
    assert stored is not None
    with scratch_source.open() as connection:
        [(rows, total)] = connection.execute(
            "SELECT count(*) FILTER (WHERE (ctid::text::point)[0] = ANY(%s)),"
            " pg_relation_size('item') / 8192 FROM item",
            [list(blocks)],
        ).fetchall()
    assert (stored.batch, stored.rows) == (1, rows)
    assert stored.share == pytest.approx(len(blocks) / total)


def test_a_label_that_was_renamed_back_is_noticed(scratch_source: ScratchSource) -> None:
    scratch_source.run("CREATE TYPE kind AS ENUM ('a', 'b')")
    digests = set()
    for change in ("", "a TO c", "c TO a"):
        if change:
            label, to = change.split(" TO ")
            scratch_source.run(f"ALTER TYPE kind RENAME VALUE '{label}' TO '{to}'")
        with scratch_source.open() as connection:
            digests.add(read_label_digest(connection))
    assert len(digests) == 3


def test_another_capture_at_the_same_time_uses_what_is_stored_and_one_publishes(
    scratch_source: ScratchSource, read_whole: list[range], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one then captures what has changed since, as the next batch."""
    scratch_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(3000)}")
    batches: list[int] = []

    def capture_in_between() -> None:
        stored = stored_blocks(scratch_source)
        scratch_source.run("UPDATE item SET name = 'in between' WHERE id % 100 = 0")
        read_whole.clear()
        batch = scratch_source.capture()
        assert batch is not None
        batches.append(batch.batch)
        assert not {block for blocks in read_whole for block in blocks} & stored
        scratch_source.run("DELETE FROM item WHERE id % 100 = 1")

    one_connection = replace(scratch_source, scope=replace(scratch_source.scope, connections=1))
    monkeypatch.setitem(
        failpoint.actions, "unfinished.piece-stored", on_nth_call(4, capture_in_between)
    )
    batch = one_connection.capture()
    assert batch is not None
    assert [*batches, batch.batch] == [1, 2]
    assert scratch_source.lake_equals_source()


def ingest_in_small_pieces(pipeline: Pipeline) -> None:
    splitting._RANGE_BYTES, splitting._RANGES_PER_PIECE = 16 << 10, 2
    list(run_stage(pipeline, "ingest", ACCEPT_DELETES))


@pytest.mark.parametrize("name", sample(2, FAILPOINTS, "resumed load"))
def test_a_process_that_is_killed_twice_is_continued_by_the_next(
    scratch_source: ScratchSource, name: str
) -> None:
    store = scratch_source.store
    pipeline = Pipeline(scratch_source.dsn, scratch_source.scope, store, store, scratch_source.dsn)
    scratch_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(3000)}")
    assert killed_at(pipeline, ingest_in_small_pieces, name)
    scratch_source.run("UPDATE item SET id = -id WHERE id % 10 = 0")
    assert killed_at(pipeline, ingest_in_small_pieces, name)
    scratch_source.run("DELETE FROM item WHERE id % 10 = 1")
    ingest_in_small_pieces(pipeline)
    assert scratch_source.lake_equals_source()


def test_a_first_capture_of_the_log_mode_is_continued_and_the_log_takes_over(
    log_source: LogSource,
) -> None:
    log_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(3000)}")
    log_source.publish("item")

    def kill() -> None:
        raise Killed

    failpoint.actions["unfinished.piece-stored"] = on_nth_call(4, kill)
    try:
        with pytest.raises(Killed):
            log_source.read_log()
    finally:
        del failpoint.actions["unfinished.piece-stored"]
    log_source.run("UPDATE item SET name = 'between' WHERE id % 10 = 0")
    log_source.new_reader()
    assert not entry(log_source.read_batch(), "item").of_log
    log_source.run("UPDATE item SET name = 'after' WHERE id = 1; DELETE FROM item WHERE id = 2")
    assert len(log_source.lines_in_log()) == 2
    log_source.check_lake()


def test_files_are_as_many_as_pieces_and_a_table_has_a_limited_number(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large the table is: pieces grow with it."""
    monkeypatch.setattr(splitting, "_MAX_PIECES", 5)
    scratch_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(5000)}")
    batch = scratch_source.capture()
    assert batch is not None
    files = batch.tables[0].files
    assert len(files) == 5
    assert max(file.rows for file in files) < 2 * min(file.rows for file in files) + 500
