"""Every committed change is captured once, even if its transaction commits late."""

from datetime import UTC, datetime
from pathlib import Path

import lake_reader
import pytest
from depth import seeded_random
from scratch_source import (
    CREATE_ITEM,
    INSERT_ITEMS,
    ScratchSource,
    create_scratch_source,
)

from conftest import ClusterFactory
from totes.errors import SourceError
from totes.source import changes
from totes.source.changes import Horizon

pytestmark = pytest.mark.few(4)


def test_the_first_batch_has_all_rows_of_all_tables(scratch_source: ScratchSource) -> None:
    scratch_source.run(
        f"{CREATE_ITEM}; {INSERT_ITEMS.format(250)}; CREATE TABLE empty (id int PRIMARY KEY)"
    )
    batch = scratch_source.capture()
    assert batch is not None
    assert [(table.name, table.rows, table.whole) for table in batch.tables] == [
        ("empty", 0, True),
        ("item", 250, True),
    ]
    assert scratch_source.lake_equals_source()


def test_an_update_without_last_updated_is_captured(scratch_source: ScratchSource) -> None:
    scratch_source.add_items().run("UPDATE item SET price = price * 2 WHERE id = 2")
    assert scratch_source.changes() == {("upsert", 2)}
    assert scratch_source.lake_equals_source()


def test_an_insert_an_update_and_a_delete_are_captured_together(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items().run(
        "INSERT INTO item VALUES (4); UPDATE item SET name = 'new' WHERE id = 1;"
        "DELETE FROM item WHERE id = 2"
    )
    assert scratch_source.changes() == {("upsert", 4), ("upsert", 1), ("delete", 2)}
    assert scratch_source.lake_equals_source()


def test_a_changed_key_is_a_delete_and_an_insert(scratch_source: ScratchSource) -> None:
    scratch_source.add_items().run("UPDATE item SET id = 30 WHERE id = 3")
    assert scratch_source.changes() == {("upsert", 30), ("delete", 3)}


def test_a_delete_is_found_although_an_insert_keeps_the_row_count(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items(1000).run(
        "DELETE FROM item WHERE id = 500; INSERT INTO item VALUES (5000)"
    )
    assert scratch_source.changes() == {("upsert", 5000), ("delete", 500)}


def test_a_key_deleted_and_inserted_again_is_one_change(scratch_source: ScratchSource) -> None:
    scratch_source.add_items().run("DELETE FROM item WHERE id = 2")
    scratch_source.run("INSERT INTO item VALUES (2, 'again')")
    assert scratch_source.changes() == {("upsert", 2)}


def test_two_rows_that_swap_their_keys_are_both_captured(scratch_source: ScratchSource) -> None:
    scratch_source.add_items().run(
        "UPDATE item SET id = -1 WHERE id = 1; UPDATE item SET id = 1 WHERE id = 2;"
        "UPDATE item SET id = 2 WHERE id = -1"
    )
    assert scratch_source.changes() == {("upsert", 1), ("upsert", 2)}
    assert scratch_source.lake_equals_source()


def test_rolled_back_changes_are_not_captured(scratch_source: ScratchSource) -> None:
    with scratch_source.add_items().open() as connection:
        connection.execute("UPDATE item SET name = 'never'; DELETE FROM item WHERE id = 1")
        connection.rollback()
    assert scratch_source.capture() is None


# Transactions that commit late


def test_a_transaction_that_commits_after_later_ones_is_captured(
    scratch_source: ScratchSource,
) -> None:
    with scratch_source.add_items().open() as late:
        late.execute("UPDATE item SET name = 'late' WHERE id = 1")
        scratch_source.run("UPDATE item SET name = 'early' WHERE id = 2")
        assert scratch_source.changes() == {("upsert", 2)}
        scratch_source.run("UPDATE item SET name = 'early' WHERE id = 3")
        assert scratch_source.changes() == {("upsert", 3)}
        late.commit()
    assert scratch_source.changes() == {("upsert", 1)}
    assert scratch_source.lake_equals_source()


def test_a_late_delete_is_captured(scratch_source: ScratchSource) -> None:
    with scratch_source.add_items().open() as late:
        late.execute("DELETE FROM item WHERE id = 1")
        scratch_source.run("INSERT INTO item VALUES (4)")
        assert scratch_source.changes() == {("upsert", 4)}
        late.commit()
    assert scratch_source.changes() == {("delete", 1)}


def test_a_transaction_open_at_the_first_capture_is_captured_later(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(3)}")
    with scratch_source.open() as late:
        late.execute("INSERT INTO item VALUES (4); DELETE FROM item WHERE id = 1")
        assert scratch_source.changes() == {("upsert", 1), ("upsert", 2), ("upsert", 3)}
        late.commit()
    assert scratch_source.changes() == {("upsert", 4), ("delete", 1)}


def test_released_subtransactions_are_captured_and_rolled_back_ones_are_not(
    scratch_source: ScratchSource,
) -> None:
    """A subtransaction's id is below the snapshot's xmax, and not in its list of running ids."""
    with scratch_source.add_items(6).open() as late:
        late.execute("UPDATE item SET name = 'top' WHERE id = 1")
        for number, end in ((2, "RELEASE"), (3, "ROLLBACK TO"), (4, "RELEASE")):
            late.execute("SAVEPOINT inner_work")
            late.execute("UPDATE item SET name = 'inner' WHERE id = %s", [number])
            late.execute(f"{end} inner_work".encode())
            scratch_source.run("UPDATE item SET price = price + 1 WHERE id = 6")
            assert scratch_source.changes() == {("upsert", 6)}
        late.commit()
    assert scratch_source.changes() == {("upsert", 1), ("upsert", 2), ("upsert", 4)}
    assert scratch_source.lake_equals_source()


def test_more_subtransactions_than_the_servers_cache_holds_are_captured(
    scratch_source: ScratchSource,
) -> None:
    with scratch_source.add_items(300).open() as late:
        for number in range(1, 101):
            late.execute("SAVEPOINT inner_work")
            late.execute("UPDATE item SET name = 'inner' WHERE id = %s", [number])
            late.execute("RELEASE inner_work")
        scratch_source.run("UPDATE item SET name = 'early' WHERE id = 300")
        assert scratch_source.changes() == {("upsert", 300)}
        late.commit()
    assert scratch_source.changes() == {("upsert", number) for number in range(1, 101)}


def test_each_change_is_captured_once_while_a_long_transaction_is_open(
    scratch_source: ScratchSource,
) -> None:
    with scratch_source.add_items(10).open() as late:
        late.execute("UPDATE item SET name = 'late' WHERE id = 10")
        for number in range(1, 6):
            scratch_source.run(f"UPDATE item SET name = 'early' WHERE id = {number}")
            assert scratch_source.changes() == {("upsert", number)}
            assert scratch_source.capture() is None, "a batch without new changes"
        scratch_source.run("UPDATE item SET name = 'twice' WHERE id = 3")
        assert scratch_source.changes() == {("upsert", 3)}
        late.commit()
    assert scratch_source.changes() == {("upsert", 10)}
    assert scratch_source.lake_equals_source()


def test_the_overlap_continues_after_batches_of_other_tables(scratch_source: ScratchSource) -> None:
    scratch_source.run("CREATE TABLE other (id int PRIMARY KEY)")
    with scratch_source.add_items().open() as late:
        late.execute("UPDATE item SET name = 'late' WHERE id = 3")
        scratch_source.run("UPDATE item SET name = 'early' WHERE id = 1")
        assert scratch_source.changes() == {("upsert", 1)}
        for number in range(3):
            scratch_source.run(f"INSERT INTO other VALUES ({number})")
            assert scratch_source.changes() == set()
        late.commit()
    assert scratch_source.changes() == {("upsert", 3)}


def test_a_deletion_in_the_overlap_is_captured_once(scratch_source: ScratchSource) -> None:
    with scratch_source.add_items().open() as late:
        late.execute("UPDATE item SET name = 'late' WHERE id = 3")
        scratch_source.run("UPDATE item SET name = 'early' WHERE id IN (1, 2)")
        assert scratch_source.changes() == {("upsert", 1), ("upsert", 2)}
        scratch_source.run("DELETE FROM item WHERE id = 1")
        assert scratch_source.changes() == {("delete", 1)}
        assert scratch_source.capture() is None
        scratch_source.run("INSERT INTO item VALUES (1, 'again')")
        assert scratch_source.changes() == {("upsert", 1)}
        late.commit()
    assert scratch_source.changes() == {("upsert", 3)}
    assert scratch_source.lake_equals_source()


def test_without_open_transactions_no_overlap_is_stored(scratch_source: ScratchSource) -> None:
    scratch_source.add_items().run("UPDATE item SET name = 'new'")
    assert len(scratch_source.changes()) == 3
    assert all(
        table.overlap is None for table in lake_reader.batches(scratch_source.store)[-1].tables
    )


def test_a_prepared_transaction_is_captured_when_it_commits(
    cluster: ClusterFactory, tmp_path: Path
) -> None:
    scratch_source = create_scratch_source(
        cluster(max_prepared_transactions="2"), tmp_path
    ).add_items()
    scratch_source.run("UPDATE item SET name = 'kept' WHERE id = 1; PREPARE TRANSACTION 'kept'")
    scratch_source.run("UPDATE item SET name = 'lost' WHERE id = 2; PREPARE TRANSACTION 'lost'")
    scratch_source.run("UPDATE item SET name = 'early' WHERE id = 3")
    assert scratch_source.changes() == {("upsert", 3)}
    scratch_source.run("COMMIT PREPARED 'kept'")
    scratch_source.run("ROLLBACK PREPARED 'lost'")
    assert scratch_source.changes() == {("upsert", 1)}
    assert scratch_source.lake_equals_source()


# Tables that are rewritten, truncated and filled again


@pytest.mark.parametrize(
    "rewrite",
    [
        "VACUUM FULL item",
        "VACUUM FREEZE item",
        "VACUUM FULL FREEZE item",
        "CLUSTER item USING item_pkey",
    ],
)
def test_a_rewrite_that_changes_no_row_is_not_captured(
    scratch_source: ScratchSource, rewrite: str
) -> None:
    scratch_source.add_items(50).run("UPDATE item SET name = 'new' WHERE id % 2 = 0")
    assert len(scratch_source.changes()) == 25
    scratch_source.run(rewrite)
    assert scratch_source.capture() is None
    scratch_source.run("UPDATE item SET name = 'newer' WHERE id = 7")
    assert scratch_source.changes() == {("upsert", 7)}
    assert scratch_source.lake_equals_source()


def test_truncate_deletes_every_row(scratch_source: ScratchSource) -> None:
    scratch_source.add_items().run("TRUNCATE item")
    assert scratch_source.changes() == {("delete", 1), ("delete", 2), ("delete", 3)}
    assert scratch_source.lake_equals_source()
    assert scratch_source.capture() is None


def test_truncate_and_reload_captures_the_rows_and_deletes_only_missing_keys(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items(200).run(
        f"TRUNCATE item; {INSERT_ITEMS.format(199)}; INSERT INTO item VALUES (300)"
    )
    changed = scratch_source.changes()
    assert ("delete", 200) in changed
    assert len([change for change in changed if change[0] == "upsert"]) == 200
    assert scratch_source.lake_equals_source()


def test_rows_copied_with_freeze_are_captured(scratch_source: ScratchSource) -> None:
    with scratch_source.add_items().open() as connection:
        connection.execute("TRUNCATE item")
        with connection.cursor().copy("COPY item FROM STDIN (FREEZE)") as copy:
            copy.write("7\tfrozen\t1\n")
    assert scratch_source.changes() == {("upsert", 7), ("delete", 1), ("delete", 2), ("delete", 3)}


def test_a_row_of_forty_megabytes_is_captured(scratch_source: ScratchSource) -> None:
    scratch_source.add_items().run("INSERT INTO item VALUES (4, repeat('wide \"row\" ', 4000000))")
    (line,) = scratch_source.captured_lines()
    assert line["name"] == 'wide "row" ' * 4_000_000
    assert scratch_source.changes() == set()


# Kinds of tables


def test_the_rows_of_partitions_are_captured_through_their_root(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.run(
        "CREATE TABLE item (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);"
        "CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');"
        "CREATE TABLE item_2 PARTITION OF item FOR VALUES FROM ('2026-02-01') TO ('2026-03-01')"
        " PARTITION BY HASH (id);"
        "CREATE TABLE item_3 PARTITION OF item_2 FOR VALUES WITH (MODULUS 1, REMAINDER 0);"
        "INSERT INTO item SELECT i, '2026-01-01'::date + i % 59 FROM generate_series(1, 2000) i"
    )
    batch = scratch_source.capture()
    assert batch is not None
    assert [(table.name, table.rows) for table in batch.tables] == [("item", 2000)]
    assert scratch_source.lake_equals_source()
    scratch_source.run(
        "DELETE FROM item WHERE id = 1; UPDATE item SET day = '2026-02-02' WHERE id = 59;"
        "INSERT INTO item VALUES (0, '2026-02-28')"
    )
    changed = {(line["_op"], line["id"], line["day"]) for line in scratch_source.captured_lines()}
    assert changed == {
        ("delete", 1, "2026-01-02"),
        ("delete", 59, "2026-01-01"),
        ("upsert", 59, "2026-02-02"),
        ("upsert", 0, "2026-02-28"),
    }
    assert scratch_source.lake_equals_source()


def test_a_table_without_a_key_is_captured_whole_when_it_changes(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.run(
        "CREATE TABLE item (id int, name text); INSERT INTO item VALUES (1, 'a'), (2, 'b')"
    )
    assert scratch_source.changes() == {("upsert", 1), ("upsert", 2)}
    assert scratch_source.capture() is None
    for change in (
        "UPDATE item SET name = 'c' WHERE id = 2",
        "INSERT INTO item VALUES (3, 'd')",
        "DELETE FROM item WHERE id = 1",
        "DELETE FROM item WHERE id = 2; INSERT INTO item VALUES (4, 'e')",
        "INSERT INTO item VALUES (4, 'e'), (4, 'e')",
        "TRUNCATE item",
    ):
        scratch_source.run(change)
        batch = scratch_source.capture()
        assert batch is not None
        assert batch.tables[0].whole
        assert scratch_source.lake_equals_source()
        assert scratch_source.capture() is None


def test_a_table_without_a_key_makes_no_batch_when_its_rows_are_written_unchanged(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.run("CREATE TABLE item (id int); INSERT INTO item VALUES (1), (2)")
    scratch_source.capture()
    with scratch_source.open() as late:
        late.execute("SELECT pg_current_xact_id()")
        scratch_source.run("UPDATE item SET id = id")
        assert scratch_source.capture() is None
        scratch_source.run("DELETE FROM item; INSERT INTO item VALUES (2), (1)")
        assert scratch_source.capture() is None


def test_composite_keys_of_every_type_are_distinguished(scratch_source: ScratchSource) -> None:
    scratch_source.run(
        "CREATE TABLE item (a int, b text, c bool, d uuid, e numeric, f bigint, g date, v int,"
        " PRIMARY KEY (f, a, b, c, d, e, g));"
        "INSERT INTO item SELECT i % 3, 'b' || i, i % 2 = 0, gen_random_uuid(), i / 8.0,"
        " 9007199254740993 + i % 2, '2026-01-01'::date + i, i FROM generate_series(1, 300) i"
    )
    scratch_source.capture()
    assert scratch_source.lake_equals_source()
    scratch_source.run("DELETE FROM item WHERE v IN (3, 144); UPDATE item SET v = 0 WHERE v = 5")
    lines = scratch_source.captured_lines()
    assert sorted(line["_op"] for line in lines) == ["delete", "delete", "upsert"]
    for line in lines:
        assert isinstance(line["a"], int)
        assert isinstance(line["c"], bool)
        assert int(line["f"]) >= 9007199254740993
    assert scratch_source.lake_equals_source()


HOSTILE = [
    "it's",
    'say "hi"',
    "back\\slash",
    "tab\tand\nline",
    "\x01\x02\x1f\x7f",
    "null",
    "",
    " ",
    "  blanks  ",
    "ünïcödé 東京 🎉",
    "e\u0301",
    "\u2028\u2029\ufeff",
    "100%s %(x)s {} ~1/~0",
    "\\u0041",
    "a\x1fb",
]


@pytest.mark.few(2)
@pytest.mark.parametrize("kind", ["text", "varchar(40)", "char(40)", "name", "bytea"])
def test_hostile_text_is_captured_exactly_as_value_and_as_key(
    scratch_source: ScratchSource, kind: str
) -> None:
    scratch_source.run(f"CREATE TABLE item (id {kind}, n int, PRIMARY KEY (id))")
    with scratch_source.open() as connection:
        connection.cursor().executemany(
            "INSERT INTO item VALUES (%s, %s)",
            [
                (text.encode() if kind == "bytea" else text, number)
                for number, text in enumerate(HOSTILE)
                if kind != "char(40)" or text != " "  # the same as an empty one
            ],
        )
    scratch_source.capture()
    assert scratch_source.lake_equals_source()
    scratch_source.run("DELETE FROM item WHERE n % 2 = 0; UPDATE item SET n = n WHERE n % 4 = 1")
    assert scratch_source.captured_lines()
    assert scratch_source.lake_equals_source()
    scratch_source.run("DELETE FROM item")
    assert scratch_source.captured_lines()
    assert scratch_source.lake_equals_source()


def test_a_column_with_a_reserved_name_is_rejected(scratch_source: ScratchSource) -> None:
    scratch_source.add_items().run("ALTER TABLE item ADD COLUMN _op text")
    with pytest.raises(SourceError, match=r"item.*_op.*TOTES_EXCLUDE_TABLES"):
        scratch_source.capture()


def test_two_hundred_columns_are_captured(scratch_source: ScratchSource) -> None:
    columns = ", ".join(f"c{i} int DEFAULT {i}" for i in range(200))
    scratch_source.run(
        f"CREATE TABLE item (id int PRIMARY KEY, {columns}); INSERT INTO item VALUES (1)"
    )
    scratch_source.capture()
    assert scratch_source.lake_equals_source()


def test_a_table_with_only_a_key_column_is_captured(scratch_source: ScratchSource) -> None:
    scratch_source.run("CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1), (2)")
    assert scratch_source.changes() == {("upsert", 1), ("upsert", 2)}
    scratch_source.run("DELETE FROM item WHERE id = 1")
    assert scratch_source.changes() == {("delete", 1)}


def test_a_large_table_is_captured_completely_in_many_pieces(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Including deletions and changes in every piece."""
    monkeypatch.setattr("totes.source.splitting._RANGE_BYTES", 16 << 10)
    monkeypatch.setattr("totes.source.splitting._SPARSE_RANGE_BYTES", 16 << 10)
    monkeypatch.setattr("totes.source.pieces._FILE_BYTES", 64 << 10)
    scratch_source.add_items(20_000)
    assert len(lake_reader.batches(scratch_source.store)[0].tables[0].files) > 5
    assert scratch_source.lake_equals_source()
    scratch_source.run(
        "DELETE FROM item WHERE id % 500 = 0; UPDATE item SET name = '' WHERE id % 500 = 1"
    )
    assert len(scratch_source.changes()) == 80
    assert scratch_source.lake_equals_source()


INSERT_NEW = (
    "INSERT INTO item SELECT i, 'new' FROM generate_series({}, {}) i ON CONFLICT DO NOTHING"
)
CHANGE_KEYS = """
UPDATE item SET id = id + {} WHERE id = {} AND NOT EXISTS (SELECT FROM item WHERE id > 1000)
"""


def test_random_changes_are_captured_exactly(scratch_source: ScratchSource) -> None:
    """Random inserts, deletes, updates and key changes; lake and source are compared."""
    chance = seeded_random()
    scratch_source.add_items(300)
    for _ in range(8):
        for _ in range(chance.randrange(4)):
            low, high = sorted(chance.choices(range(400), k=2))
            high = min(high, low + 60)
            scratch_source.run(
                chance.choice(
                    (
                        f"DELETE FROM item WHERE id BETWEEN {low} AND {high}",
                        f"UPDATE item SET price = {high} WHERE id BETWEEN {low} AND {high}",
                        INSERT_NEW.format(low, high),
                        CHANGE_KEYS.format(1000 + low, high),
                    )
                )
            )
        scratch_source.capture()
        assert scratch_source.lake_equals_source()


# The arithmetic of wraparound


def test_age_is_not_used_for_distances_at_which_it_wraps(scratch_source: ScratchSource) -> None:
    with scratch_source.add_items().open() as connection:
        for distance, cheap in ((5, True), ((1 << 30) - 1, True), (1 << 30, False)):
            text = changes._changed_condition(Horizon(1 << 40, (1 << 40) + distance)).as_string(
                connection
            )
            assert ("age(" in text) == cheap


def test_the_capture_time_is_the_sources_clock(scratch_source: ScratchSource) -> None:
    before = datetime.now(UTC)
    (batch,) = lake_reader.batches(scratch_source.add_items().store)
    assert before <= batch.captured_at <= datetime.now(UTC)
