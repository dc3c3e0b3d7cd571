"""Every relation that the application can read is captured, or excluded with a reason."""

import contextlib

import lake_reader
import psycopg
import pytest
from installation import Installation
from scratch_source import CREATE_ITEM, ScratchSource, once
from stage_fixtures import AtFailpoint
from test_schema_races import deletes

from conftest import Totesys
from totes.errors import ModelError, SourceError, SourceUnavailable
from totes.operations.verify import verify
from totes.source.catalogue import CaptureScope
from totes.stages.runner import run_once

pytestmark = pytest.mark.few(3)

CHILD = "CREATE TABLE item_2025 (PRIMARY KEY (id)) INHERITS (item)"


def captured(scratch_source: ScratchSource) -> dict[str, int]:
    """Capture; return the number of rows of each table."""
    batch = scratch_source.capture()
    assert batch is not None
    return {table.name: table.rows for table in batch.tables}


def exclusions(scratch_source: ScratchSource) -> dict[str, str]:
    return lake_reader.batches(scratch_source.store)[-1].left_out


# Tables that inherit


@pytest.mark.few(1)
def test_rows_of_children_are_captured_with_their_parent(any_scratch_source: ScratchSource) -> None:
    scratch_source = any_scratch_source
    scratch_source.add_items(200).run(
        f"{CHILD}; INSERT INTO item_2025 VALUES (201, 'in the child')"
    )
    assert captured(scratch_source) == {"item": 201}
    assert exclusions(scratch_source) == {
        "item_2025": "it inherits from item, and its rows are captured with that table"
    }
    scratch_source.run(
        "INSERT INTO item_2025 VALUES (202, 'later'); UPDATE item SET name = 'x' WHERE id = 1"
    )
    assert scratch_source.changes() == {("upsert", 202), ("upsert", 1)}
    scratch_source.run(
        "WITH moved AS (DELETE FROM ONLY item WHERE id <= 50 RETURNING *)"
        "INSERT INTO item_2025 SELECT * FROM moved"
    )
    assert scratch_source.changes() == {("upsert", key) for key in range(1, 51)}
    scratch_source.run("DELETE FROM item WHERE id IN (7, 77, 202)")
    assert scratch_source.changes() == {("delete", 7), ("delete", 77), ("delete", 202)}
    assert scratch_source.lake_equals_source()
    assert scratch_source.capture() is None
    scratch_source.run("TRUNCATE item_2025")
    assert len(scratch_source.changes()) == 50
    assert scratch_source.lake_equals_source()


def test_rows_of_children_of_children_and_of_several_parents_are_captured(
    any_scratch_source: ScratchSource,
) -> None:
    scratch_source = any_scratch_source
    scratch_source.add_items().run(
        f"{CHILD}; CREATE TABLE item_dec () INHERITS (item_2025);"
        "CREATE TABLE stamped (id int, at date); CREATE SCHEMA IF NOT EXISTS other;"
        "CREATE TABLE both_of (size int) INHERITS (item, stamped);"
        "CREATE TABLE other.child (price numeric, id int NOT NULL, name text, note text);"
        "ALTER TABLE other.child INHERIT item;"
        "INSERT INTO item_2025 VALUES (11, 'a'); INSERT INTO item_dec VALUES (12, 'b');"
        "INSERT INTO both_of VALUES (13, 'c', 1.50, '2025-12-31', 9);"
        "INSERT INTO other.child VALUES (2.50, 14, 'd', 'e')"
    )
    assert captured(scratch_source) == {"item": 7, "both_of": 1, "stamped": 1}
    for table in ("item", "both_of", "stamped"):
        assert scratch_source.lake_equals_source(table)
    assert set(exclusions(scratch_source)) == {"item_2025", "item_dec"}
    scratch_source.run("UPDATE other.child SET name = 'new'; DELETE FROM both_of")
    assert scratch_source.changes() == {("upsert", 14), ("delete", 13)}


def test_a_child_is_captured_separately_if_its_parent_is_not(
    any_scratch_source: ScratchSource,
) -> None:
    scratch_source = any_scratch_source
    scratch_source.run(
        "CREATE SCHEMA IF NOT EXISTS other; CREATE TABLE other.base (id int, name text);"
        "CREATE TABLE item (PRIMARY KEY (id)) INHERITS (other.base); INSERT INTO item VALUES (1);"
        "CREATE TABLE _prisma_migrations (id int PRIMARY KEY);"
        "CREATE TABLE kept (PRIMARY KEY (id)) INHERITS (_prisma_migrations);"
        "INSERT INTO kept VALUES (1);"
        "CREATE TABLE other.parted (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE part PARTITION OF other.parted DEFAULT; INSERT INTO part VALUES (1), (2)"
    )
    assert captured(scratch_source) == {"item": 1, "kept": 1, "part": 2}


def test_a_table_that_starts_or_stops_inheriting_is_captured_correctly(
    any_scratch_source: ScratchSource,
) -> None:
    scratch_source = any_scratch_source
    scratch_source.add_items().run(
        "CREATE TABLE more (LIKE item INCLUDING ALL); INSERT INTO more VALUES (9)"
    )
    assert captured(scratch_source) == {"item": 3, "more": 1}
    scratch_source.run("ALTER TABLE more INHERIT item")
    assert captured(scratch_source) == {"item": 4}
    scratch_source.run("ALTER TABLE more NO INHERIT item")
    assert captured(scratch_source) == {"item": 3, "more": 1}
    assert scratch_source.lake_equals_source()
    assert scratch_source.lake_equals_source("more")


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("rows", "change"),
    [
        (3, "INSERT INTO item_2025 VALUES (2)"),
        (3, "DELETE FROM item WHERE id = 1; INSERT INTO item_2025 VALUES (2)"),
        (900, "DELETE FROM item WHERE id = 800; INSERT INTO item_2025 VALUES (2)"),
        (3, "INSERT INTO item_2025 VALUES (2); ALTER TABLE item ADD note text"),
        (3, "INSERT INTO item_2025 VALUES (4); UPDATE item SET id = 2 WHERE id = 4"),
    ],
)
def test_a_key_in_both_parent_and_child_is_rejected_and_named(
    any_scratch_source: ScratchSource, rows: int, change: str
) -> None:
    """Even if a deletion keeps the row count unchanged."""
    scratch_source = any_scratch_source
    scratch_source.add_items(rows).run(CHILD)
    scratch_source.capture()
    scratch_source.run(change)
    with pytest.raises(SourceError, match=r'item have the key {"id":2}, in .*item_2025'):
        scratch_source.capture()
    scratch_source.run("DELETE FROM ONLY item WHERE id = 2")
    scratch_source.capture()
    assert scratch_source.lake_equals_source()


def test_a_key_that_is_null_in_a_child_is_rejected(any_scratch_source: ScratchSource) -> None:
    """Before PostgreSQL 18, a child may drop its parent's NOT NULL."""
    scratch_source = any_scratch_source
    scratch_source.add_items().run("CREATE TABLE item_2025 () INHERITS (item)")
    try:
        scratch_source.run("ALTER TABLE item_2025 ALTER id DROP NOT NULL")
    except psycopg.errors.InvalidTableDefinition:
        return
    scratch_source.run("INSERT INTO item_2025 VALUES (NULL, 'lost')")
    with pytest.raises(SourceError, match=r"item.* has NULL in the primary key \(id\)"):
        scratch_source.capture()


def test_rows_of_temporary_children_of_other_sessions_are_not_captured(
    any_scratch_source: ScratchSource,
) -> None:
    scratch_source = any_scratch_source
    scratch_source.add_items()
    with scratch_source.open() as application:
        application.execute("CREATE TEMP TABLE mine () INHERITS (item)")
        application.execute("INSERT INTO mine VALUES (9)")
        application.commit()
        application.execute("LOCK TABLE mine")
        assert scratch_source.capture() is None
    assert scratch_source.capture() is None


def test_no_row_is_captured_of_a_table_that_inherits_only_during_the_capture(
    scratch_source: ScratchSource,
    at_failpoint: AtFailpoint,
) -> None:
    """The capture locks what it reads, so such a table can't be dropped before it is detected."""
    scratch_source.add_items().run(
        f"{CHILD}; CREATE TABLE more (LIKE item); INSERT INTO more VALUES (9)"
    )
    scratch_source.scope = CaptureScope("scratch", ("more",))
    scratch_source.capture()
    scratch_source.run("UPDATE item SET name = 'new'")

    def act(statement: str) -> None:
        with contextlib.suppress(psycopg.errors.LockNotAvailable):
            scratch_source.run(f"SET lock_timeout = '20ms'; {statement}")

    at_failpoint("source.snapshot-taken", once(lambda: act("ALTER TABLE more INHERIT item")))
    at_failpoint("ingest.captured", once(lambda: act("ALTER TABLE more NO INHERIT item")))
    with contextlib.suppress(SourceUnavailable):
        scratch_source.capture()
    act("ALTER TABLE more NO INHERIT item")
    scratch_source.capture()
    assert scratch_source.lake_equals_source()
    assert not deletes(scratch_source)


def test_rows_in_a_child_reach_the_star(installation: Installation) -> None:
    installation.add_orders(20).run()
    installation.change(
        "CREATE TABLE sales_order_2025 (PRIMARY KEY (sales_order_id)) INHERITS (sales_order);"
        "INSERT INTO sales_order_2025 SELECT (jsonb_populate_record(s, '{\"sales_order_id\": 900}')"
        ").* FROM sales_order s LIMIT 1;"
        "WITH moved AS (DELETE FROM ONLY sales_order WHERE sales_order_id = 3 RETURNING *)"
        "INSERT INTO sales_order_2025 SELECT * FROM moved"
    )
    installation.run()
    current = "SELECT sales_order_id FROM fact_sales_order WHERE valid_to IS NULL"
    assert {key for (key,) in installation.query(current)} == {*range(1, 21), 900}
    assert verify(installation.pipeline).equal


# Other kinds of relations


def test_relations_that_are_not_tables_of_this_server_are_excluded_with_a_reason(
    scratch_source: ScratchSource, totesys: Totesys
) -> None:
    scratch_source.add_items().run(
        "CREATE TABLE parted (id int) PARTITION BY RANGE (id);"
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE VIEW seen AS TABLE item;"
        "CREATE MATERIALIZED VIEW kept AS TABLE item"
    )
    with psycopg.connect(totesys.admin.reveal()) as connection:
        connection.execute(
            "CREATE FOREIGN DATA WRAPPER far; CREATE SERVER far FOREIGN DATA WRAPPER far;"
            "CREATE FOREIGN TABLE scratch.far (line text) SERVER far;"
            "CREATE FOREIGN TABLE scratch.far_part PARTITION OF scratch.parted DEFAULT SERVER far;"
            "CREATE FOREIGN TABLE scratch.far_child () INHERITS (scratch.parent) SERVER far"
        )
    scratch_source.run("INSERT INTO item VALUES (9)")
    scratch_source.capture()
    assert exclusions(scratch_source) == {
        "far": "it is a foreign table, whose rows are on another server",
        "far_child": "it is a foreign table, whose rows are on another server",
        "kept": "it is a materialized view, and only tables are captured",
        "parent": "some of its rows, in scratch.far_child, are on another server",
        "parted": "some of its rows, in scratch.far_part, are on another server",
        "seen": "it is a view, and only tables are captured",
    }


def test_unlogged_tables_are_excluded_with_a_reason(any_scratch_source: ScratchSource) -> None:
    scratch_source = any_scratch_source
    scratch_source.run(
        f"{CREATE_ITEM}; CREATE UNLOGGED TABLE fleeting (id int PRIMARY KEY);"
        "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE UNLOGGED TABLE part PARTITION OF parted DEFAULT;"
        "CREATE TABLE parent (id int PRIMARY KEY);"
        "CREATE UNLOGGED TABLE child () INHERITS (parent)"
    )
    assert captured(scratch_source) == {"item": 0}
    unlogged = (
        "unlogged, and would be empty after a crash of the server: run ALTER TABLE … SET LOGGED to "
        "capture it"
    )
    assert exclusions(scratch_source) == {
        "child": f"it is {unlogged}",
        "fleeting": f"it is {unlogged}",
        "parent": f"some of its rows are in scratch.child, which is {unlogged}",
        "parted": f"some of its rows are in scratch.part, which is {unlogged}",
    }
    scratch_source.run("ALTER TABLE part SET LOGGED; ALTER TABLE child SET LOGGED")
    assert captured(scratch_source) == {"item": 0, "parent": 0, "parted": 0}


def test_tables_with_rules_and_typed_tables_are_captured(any_scratch_source: ScratchSource) -> None:
    scratch_source = any_scratch_source
    scratch_source.run(
        "CREATE TYPE shape AS (id int, name text); CREATE TABLE typed OF shape (PRIMARY KEY (id));"
        f"{CREATE_ITEM}; CREATE RULE elsewhere AS ON INSERT TO item WHERE NEW.id > 9"
        " DO INSTEAD INSERT INTO typed VALUES (NEW.id, NEW.name);"
        "INSERT INTO item VALUES (1); INSERT INTO item VALUES (10)"
    )
    assert captured(scratch_source) == {"item": 1, "typed": 1}
    scratch_source.run("ALTER TYPE shape ADD ATTRIBUTE size int CASCADE; UPDATE typed SET size = 3")
    scratch_source.capture()
    assert scratch_source.lake_equals_source("typed")


REPLACED = {
    "a view": "ALTER TABLE payment RENAME TO was; CREATE VIEW payment AS TABLE was",
    "a materialized view": "ALTER TABLE payment RENAME TO was;"
    "CREATE MATERIALIZED VIEW payment AS TABLE was",
    "unlogged": "ALTER TABLE payment SET UNLOGGED",
}


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", REPLACED)
def test_a_model_names_the_relation_that_replaced_its_table(
    installation: Installation, kind: str
) -> None:
    installation.add_orders(5).run()
    installation.change(REPLACED[kind])
    with pytest.raises(
        ModelError, match=rf"batch 2: source table payment is not captured: it is {kind},"
    ):
        list(run_once(installation.pipeline))
