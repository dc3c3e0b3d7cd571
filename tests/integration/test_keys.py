"""The live keys of a table stay exact through any history, and compact."""

from pathlib import Path

import duckdb
import pytest
from lake_reader import batches
from scratch_source import ScratchSource, seeded

from totes.engine import open_engine
from totes.errors import SourceError
from totes.lake.manifest import Table
from totes.source import capture
from totes.source.catalogue import SourceColumn, SourceTable
from totes.source.changes import Bucketing
from totes.source.keys import TableKeys
from totes.source.scan import CONNECTIONS
from totes.stages.ingest import Accept


def newest(scratch_source: ScratchSource) -> Table:
    (table,) = batches(scratch_source.store)[-1].tables
    return table


def live(scratch_source: ScratchSource) -> set[object]:
    """The live set as the files of the newest batch tell it, folded the plain way."""
    keys: set[object] = set()
    for file in newest(scratch_source).keys:
        rows = duckdb.execute(
            "FROM read_parquet(?)", [str(scratch_source.lake / file.path)]
        ).fetchall()
        assert len(rows) == file.rows
        if file.kind == "base":
            assert not keys
            keys = {key for (key,) in rows}
        else:
            added = {key for key, is_live in rows if is_live}
            removed = {key for key, is_live in rows if not is_live}
            assert not added & keys
            assert removed <= keys
            keys = (keys | added) - removed
    return keys


@pytest.mark.parametrize("kind", ["int", "text", "uuid"])
def test_any_history_of_keys_leaves_the_live_set(
    scratch_source: ScratchSource, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "_MOST_CHANGE_FILES", 2)
    chance = seeded()
    key = {"int": "{}", "text": "'it''s ' || {}", "uuid": "md5({}::text)::uuid"}[kind]
    scratch_source.run(f"CREATE TABLE item (id {kind} PRIMARY KEY, n int UNIQUE)")
    scratch_source.run(
        f"INSERT INTO item SELECT {key.format('i')}, i FROM generate_series(1, 2000) i"
    )
    scratch_source.capture()
    compacted = 0
    for _ in range(8):
        some = chance.sample(range(1, 2100), chance.choice([6, 10, 40]))
        gone, come = some[: len(some) // 2], some[len(some) // 3 :]
        scratch_source.run(
            f"DELETE FROM item WHERE n = ANY(ARRAY{gone}::int[]);"
            f"INSERT INTO item SELECT {key.format('i')}, i FROM unnest(ARRAY{come}::int[]) i"
            " ON CONFLICT DO NOTHING"
        )
        files = len(newest(scratch_source).keys)
        scratch_source.capture()
        compacted += len(newest(scratch_source).keys) < files
        with scratch_source.open() as connection:
            there = {row for (row,) in connection.execute("SELECT id FROM item").fetchall()}
        assert live(scratch_source) == ({str(row) for row in there} if kind == "uuid" else there)
        assert newest(scratch_source).rows == len(there)
    assert compacted, "change files were never made one base"
    assert scratch_source.is_carried_whole()


def test_many_changes_make_a_new_base_and_few_a_change_file(scratch_source: ScratchSource) -> None:
    scratch_source.stocked(1000).run("INSERT INTO item VALUES (2000)")
    scratch_source.capture()
    assert [file.kind for file in newest(scratch_source).keys] == ["base", "change"]
    scratch_source.run("DELETE FROM item WHERE id < 200")
    scratch_source.capture()
    assert [(file.kind, file.rows) for file in newest(scratch_source).keys] == [("base", 802)]


def test_updates_alone_leave_the_key_files_as_they_were(scratch_source: ScratchSource) -> None:
    before = newest(scratch_source.stocked()).keys
    scratch_source.run("UPDATE item SET name = 'new'")
    scratch_source.capture()
    assert newest(scratch_source).keys == before


def test_no_key_is_read_unless_something_was_deleted(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> int:
        raise AssertionError

    monkeypatch.setattr(TableKeys, "gone_by_buckets", never)
    scratch_source.stocked(500).run(
        "INSERT INTO item VALUES (1000); UPDATE item SET name = '' WHERE id = 4"
    )
    assert scratch_source.changes() == {("upsert", 1000), ("upsert", 4)}


def test_more_than_half_of_a_table_gone_waits_for_a_word(scratch_source: ScratchSource) -> None:
    scratch_source.stocked(101).run("DELETE FROM item WHERE id > 50")
    with pytest.raises(SourceError, match=r"item lost 51 of its 101 rows.*--accept-deletes"):
        scratch_source.capture()
    assert len(batches(scratch_source.store)) == 1
    with pytest.raises(SourceError):
        scratch_source.capture(Accept(new_source=True))
    batch = scratch_source.capture(Accept(deletes=True))
    assert batch is not None
    assert batch.tables[0].files[0].deletes == 51
    assert scratch_source.is_carried_whole()


@pytest.mark.parametrize(("rows", "left"), [(101, 51), (100, 0), (1, 0)])
def test_half_of_a_table_or_all_of_a_small_one_may_go(
    scratch_source: ScratchSource, rows: int, left: int
) -> None:
    scratch_source.stocked(rows).run(f"DELETE FROM item WHERE id > {left}")
    assert len(scratch_source.changes()) == rows - left


def test_a_table_whose_count_does_not_add_up_is_captured_whole(
    scratch_source: ScratchSource, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows that come without having been written, as after a repair with pg_surgery."""
    scratch_source.stocked(300)
    path = scratch_source.lake / "batches/000000000001.json"
    found = batches(scratch_source.store)[0]
    (table,) = found.tables
    forgetful = table.model_copy(update={"rows": 290})
    path.unlink()
    path.write_bytes(found.model_copy(update={"tables": (forgetful,)}).to_json())
    scratch_source.run("UPDATE item SET name = 'new' WHERE id = 1")
    batch = scratch_source.capture()
    assert batch is not None
    assert batch.tables[0].whole
    assert "captured whole" in caplog.text
    assert scratch_source.is_carried_whole()


def test_deletions_are_found_in_pieces_too(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("totes.source.keys._KEY_BLOCKS", 1)
    scratch_source.stocked(2000).run("DELETE FROM item WHERE id % 100 = 0")
    assert scratch_source.changes() == {("delete", number) for number in range(100, 2001, 100)}


@pytest.mark.parametrize("kind", ["int8", "text"])
def test_the_keys_of_a_large_table_fit_into_one_readers_memory(kind: str, tmp_path: Path) -> None:
    """Of any number of files: a base, as many changes as there may be, and many carried parts."""
    table = SourceTable(
        schema="public",
        name="item",
        oid=1,
        columns=(SourceColumn("id", kind, kind, nullable=False),),
        key=("id",),
        partitioned=False,
        members=(),
        readable=True,
        fingerprint="",
    )
    key = {"int8": "i", "text": "'key ' || md5(i::varchar)"}[kind]
    rows, step = 3_000_000, 100_000
    base, merged = tmp_path / "base.parquet", tmp_path / "merged.parquet"
    changes = [tmp_path / f"change{n}.parquet" for n in range(capture._MOST_CHANGE_FILES)]
    carried = [tmp_path / f"carried{n}.parquet" for n in range(40)]
    with open_engine(tmp_path) as lavish:
        lavish.execute("SET memory_limit = '2GB'")

        def make(path: Path, columns: str, first: int, count: int) -> None:
            source = f"range({first}, {first + count}) AS all_of (i)"
            lavish.execute(f"COPY (SELECT {key} AS k0{columns} FROM {source}) TO '{path}'")

        make(base, "", 0, rows)
        for number, path in enumerate(changes):  # even ones take away, odd ones give back
            make(path, f", {number % 2 == 1} AS _live", 1000 * (number // 2), 1000)
        for number, path in enumerate(carried):
            make(path, ", 7::bigint AS _xid", step * number, 1000)
    with open_engine(tmp_path, share=CONNECTIONS) as engine:
        keys = TableKeys(engine, table)
        keys.carry(carried)
        keys.open_live([base], changes)
        assert keys.added() == 10 * 1000
        known = keys.known_by_bucket(Bucketing.of(table, rows))
        assert known.total() == rows + keys.added()
        keys.none_gone()
        assert keys.write_base(merged) == rows + keys.added()


@pytest.mark.parametrize("rows", [0, 63, 64, 4_200_000, 10**9])
def test_buckets_stay_few(rows: int) -> None:
    table = SourceTable(
        "public", "item", 1, (), (), partitioned=False, members=(), readable=True, fingerprint=""
    )
    assert 1 <= Bucketing.of(table, rows).buckets <= 1 << 16
