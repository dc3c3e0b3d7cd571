"""Tables are found in the catalogue; rows that a schema change alters are captured."""

import logging

import lake_reader
import psycopg
import pytest
from scratch_source import CREATE_ITEM, INSERT_ITEMS, ScratchSource

from conftest import Totesys
from totes.errors import SourceError

pytestmark = pytest.mark.few(6)


def test_only_tables_are_ingested_and_other_relations_are_reported(
    scratch_source: ScratchSource, caplog: pytest.LogCaptureFixture
) -> None:
    scratch_source.run(
        f"{CREATE_ITEM}; CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE part PARTITION OF parted DEFAULT;"
        "CREATE VIEW seen AS TABLE item; CREATE TABLE _prisma_migrations (id int)"
    )
    with caplog.at_level(logging.INFO):
        batch = scratch_source.capture()
    assert batch is not None
    assert [table.name for table in batch.tables] == ["item", "parted"]
    said = [record.message for record in caplog.records if "left out" in record.message]
    assert said == [
        "_prisma_migrations is left out: excluded by TOTES_EXCLUDE_TABLES.",
        "seen is left out: it is a view, and only tables are captured.",
    ]
    caplog.clear()
    scratch_source.run("INSERT INTO item VALUES (1)")
    with caplog.at_level(logging.INFO):
        assert scratch_source.changes() == {("upsert", 1)}
    assert "left out" not in caplog.text, "it is said once"


def test_another_schema_is_not_ingested(scratch_source: ScratchSource) -> None:
    scratch_source.add_items().run("INSERT INTO public.currency VALUES (1, 'GBP', now(), now())")
    assert scratch_source.capture() is None


# Rows that a schema change alters without writing them


@pytest.mark.few(5)
@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE item ADD COLUMN colour text DEFAULT 'blue'",
        "ALTER TABLE item ADD COLUMN colour text",
        "ALTER TABLE item DROP COLUMN name",
        "ALTER TABLE item RENAME COLUMN name TO title",
        "ALTER TYPE size RENAME VALUE 'small' TO 'tiny'",
        "ALTER TYPE parcel ADD ATTRIBUTE depth int",
        "ALTER TABLE item ALTER COLUMN weight TYPE text",
        "ALTER TABLE item ALTER COLUMN weight TYPE numeric(12, 4)",
        "ALTER TABLE item ALTER COLUMN double SET EXPRESSION AS (price * 3)",
        "ALTER TABLE item ADD COLUMN triple numeric GENERATED ALWAYS AS (price * 3) VIRTUAL",
        "ALTER TABLE item RENAME TO was; ALTER TABLE other RENAME TO item",
    ],
)
def test_a_catalogue_change_that_may_alter_rows_captures_the_table_whole(
    scratch_source: ScratchSource, change: str
) -> None:
    shape = (
        "(id int PRIMARY KEY, name text, price numeric(10, 2), weight numeric DEFAULT 1,"
        " sizes size[] DEFAULT '{small}',"
        " double numeric GENERATED ALWAYS AS (price * 2) VIRTUAL, parcel parcel)"
    )
    scratch_source.run(
        "CREATE TYPE size AS ENUM ('small', 'large'); CREATE TYPE parcel AS (width int);"
        f"CREATE TABLE item {shape}; CREATE TABLE other {shape}"
    )
    scratch_source.run(
        INSERT_ITEMS.format(3).replace("item SELECT", "item (id, name, price) SELECT")
    )
    scratch_source.run("INSERT INTO other (id, name) VALUES (2, 'other'), (4, 'other')")
    scratch_source.run("UPDATE item SET parcel = ROW(1)")
    scratch_source.capture()
    scratch_source.run(change)
    batch = scratch_source.capture()
    assert batch is not None
    table = batch.table("item")
    assert table is not None
    assert table.whole
    assert scratch_source.lake_equals_source()
    assert scratch_source.capture() is None


def test_a_column_with_an_unvalidated_not_null_may_contain_null(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items().run(
        "ALTER TABLE item ADD at date, ADD shelf int;"
        "ALTER TABLE item ADD NOT NULL at NOT VALID, ADD NOT NULL shelf NOT VALID"
    )
    scratch_source.capture()
    assert scratch_source.lake_equals_source()


def test_attached_and_detached_partitions_are_inserts_and_deletes(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.run(
        "CREATE TABLE item (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF item FOR VALUES FROM (0) TO (10);"
        "INSERT INTO item VALUES (1, 'a'), (2, 'b');"
        "CREATE TABLE high (id int PRIMARY KEY, name text); INSERT INTO high VALUES (11, 'c')"
    )
    scratch_source.capture()
    scratch_source.run("ALTER TABLE item ATTACH PARTITION high FOR VALUES FROM (10) TO (20)")
    scratch_source.capture()
    assert scratch_source.lake_equals_source()
    scratch_source.run("ALTER TABLE item DETACH PARTITION low CONCURRENTLY")
    scratch_source.capture()
    assert scratch_source.lake_equals_source()
    assert lake_reader.rows(scratch_source.store, "item") == [("11", "c")]


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("before", "after", "using"),
    [
        ("int", "text", "id::text"),
        ("int", "bigint", "id"),
        ("text", "int", "id::int"),
        ("text", "int", "right(id, 1)::int"),
        ("bigint", "numeric", "id"),
        ("varchar(5)", "varchar(9)", "id"),
    ],
)
def test_a_key_that_changes_its_type_keeps_its_rows_and_finds_deletions(
    scratch_source: ScratchSource, before: str, after: str, using: str
) -> None:
    first = "'A' || i" if using.startswith("right") else "i"
    scratch_source.run(f"CREATE TABLE item (id {before} PRIMARY KEY, n int)")
    scratch_source.run(f"INSERT INTO item SELECT {first}, i FROM generate_series(1, 5) i")
    scratch_source.capture()
    scratch_source.run(
        f"DELETE FROM item WHERE n = 2; ALTER TABLE item ALTER id TYPE {after} USING {using}"
    )
    deleted = {
        str(line["id"]) for line in scratch_source.captured_lines() if line["_op"] == "delete"
    }
    assert deleted == ({f"A{i}" for i in range(1, 6)} if using.startswith("right") else {"2"})
    scratch_source.run("DELETE FROM item WHERE n = 3; INSERT INTO item VALUES ('7', 7)")
    assert {(line["_op"], str(line["id"])) for line in scratch_source.captured_lines()} == {
        ("delete", "3"),
        ("upsert", "7"),
    }


def test_a_new_table_is_captured_and_a_dropped_one_is_not_in_the_manifest(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items().run(
        "CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)"
    )
    assert scratch_source.changes("other") == {("upsert", 1)}
    scratch_source.run("DROP TABLE other")
    batch = scratch_source.capture()
    assert batch is not None
    assert [table.name for table in batch.tables] == ["item"]
    assert scratch_source.capture() is None


# Errors


def test_row_level_security_is_an_error_with_advice(scratch_source: ScratchSource) -> None:
    """Rows must not be omitted silently."""
    scratch_source.add_items().run("ALTER TABLE item ENABLE ROW LEVEL SECURITY")
    with pytest.raises(SourceError, match=r'"item".*BYPASSRLS.*TOTES_EXCLUDE_TABLES'):
        scratch_source.capture()
    scratch_source.run("CREATE POLICY hiding ON item TO totes_ingest USING (id > 1)")
    with pytest.raises(SourceError, match="BYPASSRLS"):
        scratch_source.capture()


def test_a_missing_privilege_names_the_table_and_the_grant(scratch_source: ScratchSource) -> None:
    scratch_source.add_items().run(
        'CREATE TABLE "It\'s" (id int); REVOKE ALL ON item, "It\'s" FROM totes_ingest'
    )
    with pytest.raises(SourceError) as refused:
        scratch_source.capture()
    assert str(refused.value) == (
        "Role 'totes_ingest' may not read It's, item in the source. Their owner can run: "
        'GRANT USAGE ON SCHEMA "scratch" TO "totes_ingest"; '
        'GRANT SELECT ON "scratch"."It\'s", "scratch"."item" TO "totes_ingest";'
    )


def test_a_missing_privilege_on_the_schema_is_an_error_with_advice(
    scratch_source: ScratchSource,
) -> None:
    scratch_source.add_items().run("REVOKE ALL ON SCHEMA scratch FROM totes_ingest")
    with pytest.raises(SourceError, match=r"GRANT USAGE ON SCHEMA"):
        scratch_source.capture()


def test_a_missing_privilege_on_a_function_is_an_error_with_advice(
    scratch_source: ScratchSource, totesys: Totesys
) -> None:
    with psycopg.connect(totesys.admin.reveal()) as connection:
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_export_snapshot() FROM PUBLIC")
    with pytest.raises(SourceError) as refused:
        scratch_source.add_items()
    assert str(refused.value) == (
        "Role 'totes_ingest' may not execute functions in the source that a capture needs. A "
        "superuser can run: "
        'GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO "totes_ingest"; '
        'GRANT EXECUTE ON FUNCTION pg_catalog.pg_export_snapshot() TO "totes_ingest";'
    )


def test_partitions_and_inheriting_tables_need_no_privilege(scratch_source: ScratchSource) -> None:
    scratch_source.run(
        "CREATE TABLE item (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE part PARTITION OF item DEFAULT; INSERT INTO item VALUES (1);"
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE SCHEMA IF NOT EXISTS hidden;"
        "CREATE TABLE hidden.child () INHERITS (parent);"
        "REVOKE ALL ON part, hidden.child FROM totes_ingest"
    )
    assert scratch_source.changes() == {("upsert", 1)}


def test_a_source_without_tables_is_an_error(scratch_source: ScratchSource) -> None:
    with pytest.raises(SourceError, match=r"'scratch'.*no tables.*TOTES_SOURCE_SCHEMA"):
        scratch_source.capture()


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"dbname": "nowhere"}, 'database "nowhere" does not exist: create the database'),
        ({"host": "/nowhere"}, "No such file or directory: check host and port"),
        ({"user": "nobody_known"}, 'role "nobody_known" does not exist: create the role'),
    ],
)
def test_the_error_for_a_wrong_dsn_is_one_line_without_the_password(
    scratch_source: ScratchSource, parts: dict[str, str], reason: str
) -> None:
    scratch_source.dsn = scratch_source.dsn.replace(**parts, password="s3cret")
    with pytest.raises(SourceError, match="can't be reached") as refused:
        scratch_source.capture()
    message = str(refused.value)
    assert reason in message
    assert "s3cret" not in message
    assert "\n" not in message
