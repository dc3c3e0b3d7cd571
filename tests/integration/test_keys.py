"""The live keys of a table are exact after any changes, and stay compact."""

from pathlib import Path
from uuid import UUID

import duckdb
import pytest
from depth import seeded_random
from lake_reader import batches
from scratch_source import ScratchSource

from totes.duckdb_engine import open_engine
from totes.errors import SourceError
from totes.lake.manifest import Table
from totes.source import key_files
from totes.source.catalogue import SourceColumn, SourceTable
from totes.source.changes import Bucketing
from totes.source.keys import TableKeys
from totes.source.scan import ENGINES
from totes.stages.ingest import AcceptOptions


def newest_table(scratch_source: ScratchSource) -> Table:
    (table,) = batches(scratch_source.store)[-1].tables
    return table


def live_blocks(scratch_source: ScratchSource) -> dict[object, int]:
    """Return the live keys with their blocks, computed in Python from the newest batch's files."""
    blocks: dict[object, int] = {}
    for file in newest_table(scratch_source).keys:
        relation = duckdb.read_parquet(str(scratch_source.lake / file.path))
        columns = "k0, _block" if file.kind == "base" else "k0, _block, _live"
        rows = relation.select(columns).fetchall()
        assert len(rows) == file.rows
        assert len({key for key, *_ in rows}) == file.rows
        for key, block, *is_live in rows:
            if all(is_live):
                blocks[key] = block
            else:
                blocks.pop(key, None)  # merged files may add and remove a key
    return blocks


def actual_blocks(scratch_source: ScratchSource) -> dict[object, int]:
    """Return the keys of the source with their blocks."""
    with scratch_source.open() as connection:
        rows = connection.execute("SELECT id, (ctid::text::point)[0]::int FROM item").fetchall()
    return {str(key) if isinstance(key, UUID) else key: block for key, block in rows}


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["int", "text", "uuid"])
def test_live_keys_are_exact_after_random_changes(
    scratch_source: ScratchSource, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_files, "_MAX_CHANGE_FILES", 2)
    chance = seeded_random()
    key = {"int": "{}", "text": "'it''s ' || {}", "uuid": "md5({}::text)::uuid"}[kind]
    scratch_source.run(f"CREATE TABLE item (id {kind} PRIMARY KEY, n int UNIQUE)")
    scratch_source.run(
        f"INSERT INTO item SELECT {key.format('i')}, i FROM generate_series(1, 2000) i"
    )
    scratch_source.capture()
    compacted = 0
    for _ in range(8):
        sample = chance.sample(range(1, 2100), chance.choice([6, 10, 40]))
        deleted, inserted = sample[: len(sample) // 2], sample[len(sample) // 3 :]
        scratch_source.run(
            f"DELETE FROM item WHERE n = ANY(ARRAY{deleted}::int[]);"
            f"INSERT INTO item SELECT {key.format('i')}, i FROM unnest(ARRAY{inserted}::int[]) i"
            " ON CONFLICT DO NOTHING"
        )
        files = len(newest_table(scratch_source).keys)
        scratch_source.capture()
        compacted += len(newest_table(scratch_source).keys) < files
        assert live_blocks(scratch_source) == actual_blocks(scratch_source)
    assert compacted, "no base file was written"
    assert scratch_source.lake_equals_source()


def test_many_changes_write_a_base_file_and_few_a_change_file(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items(1000).run("INSERT INTO item VALUES (2000)")
    scratch_source.capture()
    assert [file.kind for file in newest_table(scratch_source).keys] == ["base", "change"]
    scratch_source.run("DELETE FROM item WHERE id < 200")
    scratch_source.capture()
    assert [(file.kind, file.rows) for file in newest_table(scratch_source).keys] == [("base", 802)]


def test_updates_write_no_key_file(scratch_source: ScratchSource) -> None:
    before = newest_table(scratch_source.add_items()).keys
    scratch_source.run("UPDATE item SET name = 'new'")
    scratch_source.capture()
    assert newest_table(scratch_source).keys == before


def test_keys_are_read_only_if_one_was_deleted(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise AssertionError

    monkeypatch.setattr(TableKeys, "read_keys", fail)
    scratch_source.add_items(500).run(
        "INSERT INTO item VALUES (1000); UPDATE item SET name = '' WHERE id = 4"
    )
    assert scratch_source.changes() == {("upsert", 1000), ("upsert", 4)}


def test_deleting_more_than_half_of_a_table_needs_an_option(scratch_source: ScratchSource) -> None:
    scratch_source.add_items(101).run("DELETE FROM item WHERE id > 50")
    with pytest.raises(SourceError, match=r"item lost 51 of its 101 rows.*--accept-deletes"):
        scratch_source.capture()
    assert len(batches(scratch_source.store)) == 1
    with pytest.raises(SourceError):
        scratch_source.capture(AcceptOptions(new_source=True))
    batch = scratch_source.capture(AcceptOptions(deletes=True))
    assert batch is not None
    assert batch.tables[0].files[0].deletes == 51
    assert scratch_source.lake_equals_source()


@pytest.mark.parametrize(("rows", "remaining"), [(101, 51), (100, 0), (1, 0)])
def test_deleting_half_of_a_table_or_all_of_a_small_one_needs_no_option(
    scratch_source: ScratchSource, rows: int, remaining: int
) -> None:
    scratch_source.add_items(rows).run(f"DELETE FROM item WHERE id > {remaining}")
    assert len(scratch_source.changes()) == rows - remaining


@pytest.mark.parametrize("rows", [290, 310])
def test_a_table_whose_rows_do_not_match_its_keys_is_captured_whole(
    scratch_source: ScratchSource, rows: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Rows may appear without having been written, for example by pg_surgery."""
    scratch_source.add_items(300)
    path = scratch_source.lake / "batches/000000000001.json"
    manifest = batches(scratch_source.store)[0]
    (table,) = manifest.tables
    altered = table.model_copy(update={"rows": rows})
    path.unlink()
    path.write_bytes(manifest.model_copy(update={"tables": (altered,)}).to_json())
    scratch_source.run("UPDATE item SET name = 'new' WHERE id = 1")
    batch = scratch_source.capture()
    assert batch is not None
    assert batch.tables[0].whole
    assert "captured in full" in caplog.text
    assert scratch_source.lake_equals_source()


def test_deletions_are_found_when_keys_are_read_in_pieces(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("totes.source.keys._KEY_BLOCKS", 1)
    scratch_source.add_items(2000).run("DELETE FROM item WHERE id % 100 = 0")
    assert scratch_source.changes() == {("delete", number) for number in range(100, 2001, 100)}


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["int8", "text"])
def test_the_keys_of_a_large_table_fit_into_one_readers_memory(kind: str, tmp_path: Path) -> None:
    """With a base file, as many change files as possible, and many parts of captured keys."""
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
    changes = [tmp_path / f"change{n}.parquet" for n in range(key_files._MAX_CHANGE_FILES)]
    captured = [tmp_path / f"captured{n}.parquet" for n in range(40)]
    with open_engine(tmp_path) as large_engine:
        large_engine.execute("SET memory_limit = '2GB'")

        def make(path: Path, columns: str, first: int, count: int) -> None:
            source = f"range({first}, {first + count}) AS all_of (i)"
            large_engine.execute(
                f"COPY (SELECT {key} AS k0, i // 50 AS _block{columns} FROM {source}) TO '{path}'"
            )

        make(base, "", 0, rows)
        for number, path in enumerate(changes):  # even ones remove keys, odd ones add them again
            make(path, f", {number % 2 == 1} AS _live", 1000 * (number // 2), 1000)
        for number, path in enumerate(captured):
            make(path, ", 7::bigint AS _xid", step * number, 1000)
    with open_engine(tmp_path, share=ENGINES) as engine:
        keys = TableKeys(engine, table)
        keys.define_captured(captured)
        keys.define_live([base], changes)
        assert keys.find_added_or_moved() == keys.count_added() == 10 * 1000
        expected = keys.count_expected_by_section(8, last=1000)
        assert (expected.total(), max(expected)) == (rows + 10 * 1000, 1000)
        keys.set_none_deleted()
        assert keys.write_base(merged) == rows + 10 * 1000


@pytest.mark.parametrize("rows", [0, 63, 64, 4_200_000, 10**9])
def test_the_number_of_buckets_is_limited(rows: int) -> None:
    table = SourceTable(
        "public", "item", 1, (), (), partitioned=False, members=(), readable=True, fingerprint=""
    )
    assert 1 <= Bucketing.for_table(table, rows).buckets <= 1 << 16
