"""A capture of large tables that is killed goes on where it was, and is equal to the source."""

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from random import Random

import pytest
from depth import drawn, sample, seeded_random
from faults import killed_at, on_nth_call
from log_source import LogSource, entry
from scratch_source import CREATE_ITEM, INSERT_ITEMS, ScratchSource

from totes import failpoint
from totes.lake import open_deletable_store
from totes.lake.manifest import Manifest
from totes.lake.unfinished import Attempt, Unfinished
from totes.operations.gc import find_orphaned_files
from totes.source import changes, keys, scan
from totes.source.catalogue import SourceTable
from totes.source.snapshot import read_label_digest
from totes.stages.ingest import AcceptOptions
from totes.stages.runner import Pipeline, run_stage

ACCEPT_DELETES = AcceptOptions(deletes=True)

FAILPOINTS = (
    *("unfinished.before-attempt", "unfinished.attempt-stored"),
    *("unfinished.before-piece", "unfinished.piece-stored"),
    *("ingest.before-file", "ingest.file-stored", "ingest.captured", "ingest.before-manifest"),
)

CREATE = {
    "int": "CREATE TABLE item (id int PRIMARY KEY, n int, note text)",
    "uuid": "CREATE TABLE item (id uuid PRIMARY KEY, n int, note text)",
    "two columns": """
        CREATE TABLE item (id int, part text, n int, note text, PRIMARY KEY (part, id))""",
    "partitions": """
        CREATE TABLE item (id int, n int, note text, PRIMARY KEY (id, n)) PARTITION BY LIST (n);
        CREATE TABLE item_0 PARTITION OF item FOR VALUES IN (0);
        CREATE TABLE item_1 PARTITION OF item DEFAULT""",
    "no key": "CREATE TABLE item (id int, n int, note text)",
}

KEYS = {"uuid": "md5(i::text)::uuid", "two columns": "i, 'part ' || i % 3"}


class Killed(BaseException):
    """The process is killed at a failpoint."""


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "_CHUNK_BYTES", 16 << 10)
    monkeypatch.setattr(scan, "_CHUNKS_PER_PIECE", 2)


def capture_killed(
    source: ScratchSource, name: str, nth: int, accept: AcceptOptions = ACCEPT_DELETES
) -> bool:
    """Capture until failpoint `name` is reached the n-th time; return whether it was."""

    def kill() -> None:
        raise Killed

    failpoint.actions[name] = on_nth_call(nth, kill)
    try:
        source.capture(accept)
    except Killed:
        return True
    finally:
        del failpoint.actions[name]
    return False


class RandomTable:
    """A table of about 2,000 rows in 60 blocks, and random changes of it."""

    def __init__(self, source: ScratchSource, kind: str, chance: Random) -> None:
        self.source, self.kind, self.chance = source, kind, chance
        self.next_id = 1
        source.run(CREATE[kind])
        source.run(self.insert(2000))

    def insert(self, rows: int) -> str:
        first, self.next_id = self.next_id, self.next_id + rows
        return (
            f"INSERT INTO item SELECT {KEYS.get(self.kind, 'i')}, i % 3, repeat('x', 200)"
            f" FROM generate_series({first}, {self.next_id - 1}) i"
        )

    def some_rows(self) -> str:
        return self.chance.choice(
            [
                "ctid = (SELECT max(ctid) FROM item)",
                f"hashtext(id::text) % {self.chance.randint(5, 200)} = 0",
                f"(ctid::text::point)[0] BETWEEN {self.chance.randint(0, 40)} AND 20",
            ]
        )

    def change(self) -> str:
        """Return statements that change, move, delete, insert again or rewrite rows."""
        rows = self.some_rows()
        again = (
            f"CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM item WHERE {rows};"
            f"DELETE FROM item WHERE {rows}; INSERT INTO item SELECT * FROM kept"
        )
        other_id = "md5(id::text)::uuid" if self.kind == "uuid" else "id + 100000"
        usual = [
            self.insert(self.chance.choice([1, 100])),
            f"DELETE FROM item WHERE {rows}",
            f"UPDATE item SET note = note || 'y' WHERE {rows}",
            f"UPDATE item SET n = (n + 1) % 3 WHERE {rows}",
            f"UPDATE item SET id = {other_id} WHERE {rows}",
            again,
            "VACUUM (FREEZE) item",
        ]
        rare = [
            f"VACUUM FULL {'item_1' if self.kind == 'partitions' else 'item'}",
            f"TRUNCATE item; {self.insert(1000)}",
            "ALTER TABLE item ADD COLUMN IF NOT EXISTS added int DEFAULT 7",
            "ALTER TABLE item DROP COLUMN IF EXISTS added",
        ]
        return self.chance.choice(usual if self.chance.random() < 0.85 else rare)


@pytest.mark.parametrize("kind", CREATE)
def test_a_capture_that_is_killed_anywhere_is_continued_and_equals_the_source(
    scratch_source: ScratchSource, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Also killed again, with changes in between and transactions left open, and afterwards."""
    caplog.set_level(logging.WARNING)
    chance = seeded_random()
    for _ in range(drawn(1, 20)):
        scratch_source = replace(
            scratch_source,
            lake=scratch_source.lake.with_name(f"lake-{chance.random()}"),
            scope=replace(scratch_source.scope, connections=chance.choice([1, 2])),
        )
        table = RandomTable(scratch_source, kind, chance)
        done: list[str] = []
        for _ in range(chance.randint(2, 5)):
            with ExitStack() as stack:
                if chance.random() < 0.3:
                    late = stack.enter_context(scratch_source.open())
                    late.execute(f"DELETE FROM item WHERE {table.some_rows()}".encode())
                    late.execute(table.insert(3).encode())
                name, nth = chance.choice(FAILPOINTS), chance.randint(1, 12)
                done.append(f"killed at {name} {nth}")
                if not capture_killed(scratch_source, name, nth):
                    break
            for _ in range(chance.randint(0, 3)):
                done.append(table.change())
                scratch_source.run(done[-1])
        batch = scratch_source.capture(ACCEPT_DELETES)
        assert scratch_source.lake_equals_source(), done
        done.append(f"then {table.change()}")
        scratch_source.run(done[-1].removeprefix("then "))
        scratch_source.capture(ACCEPT_DELETES)
        assert scratch_source.lake_equals_source(), done
        assert batch is None or batch.batch > 0
        assert [record.message for record in caplog.records] == []
        scratch_source.run("DROP TABLE item")


@pytest.fixture
def read_whole(monkeypatch: pytest.MonkeyPatch) -> list[range]:
    """The blocks of table item of which all rows were read, as a list that grows."""
    blocks: list[range] = []
    read = changes.read_range

    def watched(*arguments: object, **options: object) -> changes.Chunk:
        _, table, _, horizon, row_range = arguments
        assert isinstance(table, SourceTable)
        if horizon is None and table.name == "item":
            assert isinstance(row_range, changes.RowRange)
            blocks.append(range(row_range.block, row_range.block + row_range.blocks))
        return read(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(changes, "read_range", watched)
    return blocks


def stored_blocks(source: ScratchSource, batch: int = 1) -> set[int]:
    unfinished = Unfinished(source.store, batch)
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
    unfinished = Unfinished(scratch_source.store, 1)
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
    add_attempt = Unfinished.add_attempt
    with monkeypatch.context() as patch:
        patch.setattr(
            Unfinished,
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
    scratch_source.with_items(3000)
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
    assert Unfinished(scratch_source.store, 1).measure() is None
    blocks = killed_half_way(scratch_source)
    stored = Unfinished(scratch_source.store, 1).measure()
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
    batches: list[Manifest | None] = []

    def capture_in_between() -> None:
        stored = stored_blocks(scratch_source)
        scratch_source.run("UPDATE item SET name = 'in between' WHERE id % 100 = 0")
        read_whole.clear()
        batches.append(scratch_source.capture())
        assert not {block for blocks in read_whole for block in blocks} & stored
        scratch_source.run("DELETE FROM item WHERE id % 100 = 1")

    one_connection = replace(scratch_source, scope=replace(scratch_source.scope, connections=1))
    monkeypatch.setitem(
        failpoint.actions, "unfinished.piece-stored", on_nth_call(4, capture_in_between)
    )
    batches.append(one_connection.capture())
    assert [batch.batch for batch in batches if batch] == [1, 2]
    assert scratch_source.lake_equals_source()


def ingest_in_small_pieces(pipeline: Pipeline) -> None:
    scan._CHUNK_BYTES, scan._CHUNKS_PER_PIECE = 16 << 10, 2
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
    monkeypatch.setattr(scan, "_MAX_PIECES", 5)
    scratch_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(5000)}")
    batch = scratch_source.capture()
    assert batch is not None
    files = batch.tables[0].files
    assert len(files) == 5
    assert max(file.rows for file in files) < 2 * min(file.rows for file in files) + 500
