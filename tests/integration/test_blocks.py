"""Deletions are found by the blocks that rows were in, whatever moved or rewrote the rows."""

from collections.abc import Sequence
from contextlib import ExitStack

import psycopg
import pytest
from depth import drawn, seeded_random
from hypothesis import given
from hypothesis import strategies as st
from random_table import CREATE, RandomTable
from scratch_source import CREATE_ITEM, INSERT_ITEMS, ScratchSource
from test_keys import actual_blocks, live_blocks, newest_table

from conftest import Totesys
from totes.source import changes, key_files, keys, ranges, splitting
from totes.source.catalogue import SourceTable, read_catalogue
from totes.source.changes import Horizon
from totes.source.ranges import RowRange, choose_section_blocks
from totes.stages.ingest import AcceptOptions

pytestmark = pytest.mark.few(3)

ACCEPT_DELETES = AcceptOptions(deletes=True)

BLOCK = 1 << 16
"""The positions of a block in a RowRange."""

KINDS = {
    **CREATE,
    "children": """
        CREATE TABLE item (id int PRIMARY KEY, n int, note text);
        CREATE TABLE item_0 (PRIMARY KEY (id)) INHERITS (item);
        INSERT INTO item_0 SELECT -i, 0, repeat('c', 200) FROM generate_series(1, 200) i""",
}

RELOAD = """
CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM item WHERE n <> 1;
TRUNCATE item; INSERT INTO item SELECT * FROM kept"""


def random_change(table: RandomTable) -> str:
    """Return a statement, or statements, that change or rewrite the table."""
    rewritten = "item_0" if table.kind == "partitions" else "item"
    return table.chance.choice(
        [
            table.insert(table.chance.choice([1, 30])),
            f"DELETE FROM item WHERE {table.some_rows()}",
            f"DELETE FROM item WHERE {table.some_rows()}",
            f"UPDATE item SET n = n WHERE {table.some_rows()}",
            f"UPDATE item SET note = note || 'y' WHERE {table.some_rows()}",
            "UPDATE item SET n = (n + 1) % 3 WHERE hashtext(note || id) % 9 = 0",
            f"UPDATE item SET id = {table.other_id()} WHERE {table.some_rows()}",
            "VACUUM (FREEZE) item",
            f"VACUUM FULL {rewritten}",
            f"CLUSTER {rewritten} USING {rewritten}_pkey",
            f"TRUNCATE item; {table.insert(table.chance.choice([400, 1000]))}",
            RELOAD,
            f"SAVEPOINT s; {table.insert(40)}; DELETE FROM item; ROLLBACK TO s",
        ]
    )


@pytest.mark.few(3)
@pytest.mark.parametrize("kind", KINDS)
def test_lake_equals_source_after_any_history(
    scratch_source: ScratchSource, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that moved in a rewrite are not deleted, and deleted ones are found wherever they were.

    No history makes a capture read all rows.
    """
    chance = seeded_random()
    monkeypatch.setattr(ranges, "_SECTIONS_PER_STATEMENT", chance.choice([1, 4, 1 << 20]))
    monkeypatch.setattr(
        splitting, "_SPARSE_RANGE_BYTES", chance.choice([1 << 14, 1 << 16, 1 << 23])
    )
    monkeypatch.setattr(key_files, "_MAX_CHANGE_FILES", 3)
    create = f"{KINDS[kind]}; CREATE INDEX ON item (note)"
    table = RandomTable(scratch_source, chance, kind, create, rows=1000, note_lengths=(10, 200))
    scratch_source.capture(ACCEPT_DELETES)
    done: list[str] = []
    for _ in range(drawn(6, 60)):
        with ExitStack() as stack:
            for _ in range(chance.randint(1, 3)):
                done.append(random_change(table))
                scratch_source.run(done[-1])
            if chance.random() < 0.3:
                table.leave_open(stack, 5)
            batch = scratch_source.capture(ACCEPT_DELETES)
            assert batch is None or not batch.tables[0].whole, done
            assert scratch_source.lake_equals_source(), done
    scratch_source.capture(ACCEPT_DELETES)
    assert scratch_source.lake_equals_source(), done


@pytest.fixture
def sections_of_one_block(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "_SECTIONS_PER_STATEMENT", 1 << 20)


def watch_reads(monkeypatch: pytest.MonkeyPatch) -> list[RowRange]:
    """Return the list to which each range is added whose keys are read."""
    read: list[RowRange] = []
    read_keys = changes.read_keys

    def watched(
        connection: psycopg.Connection, table: SourceTable, row_ranges: Sequence[RowRange]
    ) -> bytes:
        read.extend(row_ranges)
        return read_keys(connection, table, row_ranges)

    monkeypatch.setattr(keys, "read_keys", watched)
    return read


@pytest.mark.usefixtures("sections_of_one_block")
def test_only_blocks_with_deletions_are_read(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not those with updated rows, or those that rows were inserted into."""
    scratch_source.add_items(5000)
    blocks = actual_blocks(scratch_source)
    scratch_source.run(
        "UPDATE item SET price = 0 WHERE id % 100 = 7; DELETE FROM item WHERE id IN (1, 2, 3000);"
        f"{INSERT_ITEMS.format(5)} ON CONFLICT DO NOTHING; DELETE FROM item WHERE id = 5"
    )
    read = watch_reads(monkeypatch)
    changed = scratch_source.changes()
    assert {key for kind, key in changed if kind == "delete"} == {3000, 5}
    assert not newest_table(scratch_source).whole
    assert {row_range.block for row_range in read} == {blocks[3000], blocks[5]}
    assert all(row_range.blocks == 1 for row_range in read)
    assert live_blocks(scratch_source) == actual_blocks(scratch_source)


@pytest.mark.usefixtures("sections_of_one_block")
@pytest.mark.parametrize("rewrite", ["VACUUM FULL item", "CLUSTER item USING item_pkey"])
def test_rows_moved_by_a_rewrite_are_not_deleted(
    scratch_source: ScratchSource, rewrite: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a rewrite most blocks have as many rows as before, but other ones."""
    scratch_source.add_items(5000).run("DELETE FROM item WHERE id = 1")
    scratch_source.run(rewrite)
    assert scratch_source.changes() == {("delete", 1)}
    assert live_blocks(scratch_source) == actual_blocks(scratch_source)
    read = watch_reads(monkeypatch)
    scratch_source.run("DELETE FROM item WHERE id = 2")
    assert scratch_source.changes() == {("delete", 2)}
    assert sum(row_range.blocks for row_range in read) == 1, "blocks were recorded again"


@pytest.mark.usefixtures("sections_of_one_block")
def test_a_rewrite_is_noticed_by_a_later_capture(scratch_source: ScratchSource) -> None:
    """Captures without a deletion record blocks of the new file, but the others are of the old."""
    scratch_source.add_items(5000)
    scratch_source.run("UPDATE item SET price = 0 WHERE id < 300")
    scratch_source.capture()
    scratch_source.run("VACUUM FULL item")
    scratch_source.run("UPDATE item SET price = 1 WHERE id > 4900")
    assert len(scratch_source.changes()) == 100
    scratch_source.run("DELETE FROM item WHERE id IN (300, 4000)")
    assert scratch_source.changes() == {("delete", 300), ("delete", 4000)}
    assert live_blocks(scratch_source) == actual_blocks(scratch_source)


@pytest.mark.usefixtures("sections_of_one_block")
def test_blocks_are_recorded_again_when_a_rewritten_table_is_captured_whole(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items(5000).run("DELETE FROM item WHERE id < 300")
    scratch_source.capture()
    scratch_source.run("ALTER TABLE item ALTER price TYPE text")
    batch = scratch_source.capture()
    assert batch is not None
    assert batch.tables[0].whole
    assert live_blocks(scratch_source) == actual_blocks(scratch_source)
    scratch_source.run("DELETE FROM item WHERE id IN (300, 5000)")
    assert scratch_source.changes() == {("delete", 300), ("delete", 5000)}


def test_blocks_are_not_trusted_if_rows_may_move_in_a_table(
    scratch_source: ScratchSource, totesys: Totesys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another access method than heap may move rows at any time: all keys are read."""
    with psycopg.connect(totesys.admin.reveal()) as connection:
        connection.execute("CREATE ACCESS METHOD other TYPE TABLE HANDLER heap_tableam_handler")
    scratch_source.run(f"{CREATE_ITEM} USING other; {INSERT_ITEMS.format(5000)}")
    scratch_source.capture()
    assert newest_table(scratch_source).relfilenodes == ""
    read = watch_reads(monkeypatch)
    scratch_source.run("DELETE FROM item WHERE id = 1")
    assert scratch_source.changes() == {("delete", 1)}
    assert read[-1].last


def test_moved_rows_are_recorded_without_writing_all_keys(scratch_source: ScratchSource) -> None:
    scratch_source.add_items(2000)
    (base,) = newest_table(scratch_source).keys
    for number in range(2 * key_files._MAX_CHANGE_FILES + 1):
        scratch_source.run(f"UPDATE item SET price = {number} WHERE id = {number + 1}")
        scratch_source.capture()
    first, *changed = newest_table(scratch_source).keys
    assert first == base
    assert 0 < len(changed) <= key_files._MAX_CHANGE_FILES
    assert live_blocks(scratch_source) == actual_blocks(scratch_source)


def test_rows_beyond_the_last_range_and_of_one_partition_are_counted(
    scratch_source: ScratchSource,
) -> None:
    """Another access method may number rows beyond the size; positions are those of a partition."""
    scratch_source.run(CREATE["partitions"])
    scratch_source.run("INSERT INTO item SELECT i, i % 2, '' FROM generate_series(1, 5000) i")
    with scratch_source.open() as connection:
        (table,) = read_catalogue(connection, scratch_source.scope).tables

        def count(row_range: RowRange) -> int:
            horizon = Horizon(oldest_xid=1000, xmax=1001)
            chunk = changes.read_range(
                connection, table, 1001, horizon, row_range, max_bytes=1 << 20
            )
            return sum(chunk.rows.values())

        assert count(RowRange(0, BLOCK, last=True)) == 5000
        assert count(RowRange(0, BLOCK)) < 1000
        of_each = [RowRange(0, BLOCK, last=True, table_oid=oid) for oid in table.members]
        assert sorted(map(count, of_each)) == [0, 2500, 2500]


positions = st.integers(0, 40 * BLOCK)


@given(positions, positions, st.integers(1, 50))
def test_sections_of_a_range_are_all_of_its_rows(one: int, other: int, section_blocks: int) -> None:
    whole = RowRange(min(one, other), max(one, other) + 1, last=True, section_blocks=section_blocks)
    bounds = whole.section_bounds()
    assert [start for start, _ in bounds] == [whole.start, *(end for _, end in bounds[:-1])]
    assert bounds[-1][1] == (1 << 48) - 1
    length = section_blocks * BLOCK
    for section, (start, end) in enumerate(bounds, whole.first_section):
        assert section * length <= start < min(end, whole.end) <= (section + 1) * length


@given(st.integers(0, 1 << 32), st.integers(1, 1 << 20), st.integers(0, 5000))
def test_the_number_of_sections_is_limited(blocks: int, step: int, members: int) -> None:
    """In memory, and those that one statement counts in all partitions."""
    section_blocks = choose_section_blocks(blocks, step, members)
    assert blocks // section_blocks <= 2 * ranges._MAX_SECTIONS
    assert step * (1 + members) // section_blocks <= 2 * ranges._SECTIONS_PER_STATEMENT
