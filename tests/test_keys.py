"""The live keys of a table stay exact through any history, and compact."""

from pathlib import Path

import duckdb
import pytest

from lake_reader import batches
from shop import Shop, seeded
from totes.engine import open_engine
from totes.errors import SourceError
from totes.lake.manifest import Table
from totes.source import capture
from totes.source.catalogue import SourceColumn, SourceTable
from totes.source.changes import Bucketing
from totes.source.keys import TableKeys
from totes.source.scan import CONNECTIONS
from totes.stages.ingest import Accept


def newest(shop: Shop) -> Table:
    (table,) = batches(shop.store)[-1].tables
    return table


def live(shop: Shop) -> set[object]:
    """The live set as the files of the newest batch tell it, folded the plain way."""
    keys: set[object] = set()
    for file in newest(shop).keys:
        rows = duckdb.execute("FROM read_parquet(?)", [str(shop.lake / file.path)]).fetchall()
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["int", "text", "uuid"])
def test_any_history_of_keys_leaves_the_live_set(
    shop: Shop, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "_MOST_CHANGE_FILES", 2)
    chance = seeded()
    key = {"int": "{}", "text": "'it''s ' || {}", "uuid": "md5({}::text)::uuid"}[kind]
    shop.run(f"CREATE TABLE item (id {kind} PRIMARY KEY, n int UNIQUE)")
    shop.run(f"INSERT INTO item SELECT {key.format('i')}, i FROM generate_series(1, 2000) i")
    shop.capture()
    compacted = 0
    for _ in range(8):
        some = chance.sample(range(1, 2100), chance.choice([6, 10, 40]))
        gone, come = some[: len(some) // 2], some[len(some) // 3 :]
        shop.run(
            f"DELETE FROM item WHERE n = ANY(ARRAY{gone}::int[]);"
            f"INSERT INTO item SELECT {key.format('i')}, i FROM unnest(ARRAY{come}::int[]) i"
            " ON CONFLICT DO NOTHING"
        )
        files = len(newest(shop).keys)
        shop.capture()
        compacted += len(newest(shop).keys) < files
        with shop.open() as connection:
            there = {row for (row,) in connection.execute("SELECT id FROM item").fetchall()}
        assert live(shop) == ({str(row) for row in there} if kind == "uuid" else there)
        assert newest(shop).rows == len(there)
    assert compacted, "change files were never made one base"
    assert shop.is_carried_whole()


def test_many_changes_make_a_new_base_and_few_a_change_file(shop: Shop) -> None:
    shop.stocked(1000).run("INSERT INTO item VALUES (2000)")
    shop.capture()
    assert [file.kind for file in newest(shop).keys] == ["base", "change"]
    shop.run("DELETE FROM item WHERE id < 200")
    shop.capture()
    assert [(file.kind, file.rows) for file in newest(shop).keys] == [("base", 802)]


def test_updates_alone_leave_the_key_files_as_they_were(shop: Shop) -> None:
    before = newest(shop.stocked()).keys
    shop.run("UPDATE item SET name = 'new'")
    shop.capture()
    assert newest(shop).keys == before


def test_no_key_is_read_unless_something_was_deleted(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> int:
        raise AssertionError

    monkeypatch.setattr(TableKeys, "gone_by_buckets", never)
    shop.stocked(500).run("INSERT INTO item VALUES (1000); UPDATE item SET name = '' WHERE id = 4")
    assert shop.changes() == {("upsert", 1000), ("upsert", 4)}


def test_more_than_half_of_a_table_gone_waits_for_a_word(shop: Shop) -> None:
    shop.stocked(101).run("DELETE FROM item WHERE id > 50")
    with pytest.raises(SourceError, match=r"item lost 51 of its 101 rows.*--accept-deletes"):
        shop.capture()
    assert len(batches(shop.store)) == 1
    with pytest.raises(SourceError):
        shop.capture(Accept(new_source=True))
    batch = shop.capture(Accept(deletes=True))
    assert batch is not None
    assert batch.tables[0].files[0].deletes == 51
    assert shop.is_carried_whole()


@pytest.mark.parametrize(("rows", "left"), [(101, 51), (100, 0), (1, 0)])
def test_half_of_a_table_or_all_of_a_small_one_may_go(shop: Shop, rows: int, left: int) -> None:
    shop.stocked(rows).run(f"DELETE FROM item WHERE id > {left}")
    assert len(shop.changes()) == rows - left


def test_a_table_whose_count_does_not_add_up_is_captured_whole(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows that come without having been written, as after a repair with pg_surgery."""
    shop.stocked(300)
    path = shop.lake / "batches/000000000001.json"
    found = batches(shop.store)[0]
    (table,) = found.tables
    forgetful = table.model_copy(update={"rows": 290})
    path.unlink()
    path.write_bytes(found.model_copy(update={"tables": (forgetful,)}).to_json())
    shop.run("UPDATE item SET name = 'new' WHERE id = 1")
    batch = shop.capture()
    assert batch is not None
    assert batch.tables[0].whole
    assert "captured whole" in caplog.text
    assert shop.is_carried_whole()


def test_deletions_are_found_in_pieces_too(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("totes.source.keys._KEY_BLOCKS", 1)
    shop.stocked(2000).run("DELETE FROM item WHERE id % 100 = 0")
    assert shop.changes() == {("delete", number) for number in range(100, 2001, 100)}


@pytest.mark.slow
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
