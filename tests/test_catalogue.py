"""What is ingested is found in the catalogue, and rows altered without being written are seen."""

import logging

import psycopg
import pytest

import lake_reader
from conftest import Totesys
from shop import ITEM, STOCK, Shop
from totes.errors import SourceError


def test_only_tables_that_can_be_followed_are_ingested_and_the_rest_is_said(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.run(
        f"{ITEM}; CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE part PARTITION OF parted DEFAULT;"
        "CREATE VIEW seen AS TABLE item; CREATE TABLE _prisma_migrations (id int)"
    )
    with caplog.at_level(logging.INFO):
        batch = shop.capture()
    assert batch is not None
    assert [table.name for table in batch.tables] == ["item", "parted"]
    said = [record.message for record in caplog.records if "left out" in record.message]
    assert said == [
        "_prisma_migrations is left out: excluded by TOTES_EXCLUDE_TABLES.",
        "seen is left out: it is a view, and only tables are captured.",
    ]
    caplog.clear()
    shop.run("INSERT INTO item VALUES (1)")
    with caplog.at_level(logging.INFO):
        assert shop.changes() == {("upsert", 1)}
    assert "left out" not in caplog.text, "it is said once"


def test_another_schema_is_not_ingested(shop: Shop) -> None:
    shop.stocked().run("INSERT INTO public.currency VALUES (1, 'GBP', now(), now())")
    assert shop.capture() is None


# Rows altered without being written


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
def test_a_change_of_the_catalogue_carries_the_table_whole(shop: Shop, change: str) -> None:
    shape = (
        "(id int PRIMARY KEY, name text, price numeric(10, 2), weight numeric DEFAULT 1,"
        " sizes size[] DEFAULT '{small}',"
        " double numeric GENERATED ALWAYS AS (price * 2) VIRTUAL, parcel parcel)"
    )
    shop.run(
        "CREATE TYPE size AS ENUM ('small', 'large'); CREATE TYPE parcel AS (width int);"
        f"CREATE TABLE item {shape}; CREATE TABLE other {shape}"
    )
    shop.run(STOCK.format(3).replace("item SELECT", "item (id, name, price) SELECT"))
    shop.run("INSERT INTO other (id, name) VALUES (2, 'other'), (4, 'other')")
    shop.run("UPDATE item SET parcel = ROW(1)")
    shop.capture()
    shop.run(change)
    batch = shop.capture()
    assert batch is not None
    table = batch.table("item")
    assert table is not None
    assert table.whole
    assert shop.is_carried_whole()
    assert shop.capture() is None


def test_a_not_null_that_was_never_checked_may_hide_null(shop: Shop) -> None:
    shop.stocked().run(
        "ALTER TABLE item ADD at date, ADD shelf int;"
        "ALTER TABLE item ADD NOT NULL at NOT VALID, ADD NOT NULL shelf NOT VALID"
    )
    shop.capture()
    assert shop.is_carried_whole()


def test_attached_and_detached_partitions_are_inserts_and_deletes(shop: Shop) -> None:
    shop.run(
        "CREATE TABLE item (id int PRIMARY KEY, name text) PARTITION BY RANGE (id);"
        "CREATE TABLE low PARTITION OF item FOR VALUES FROM (0) TO (10);"
        "INSERT INTO item VALUES (1, 'a'), (2, 'b');"
        "CREATE TABLE high (id int PRIMARY KEY, name text); INSERT INTO high VALUES (11, 'c')"
    )
    shop.capture()
    shop.run("ALTER TABLE item ATTACH PARTITION high FOR VALUES FROM (10) TO (20)")
    shop.capture()
    assert shop.is_carried_whole()
    shop.run("ALTER TABLE item DETACH PARTITION low CONCURRENTLY")
    shop.capture()
    assert shop.is_carried_whole()
    assert lake_reader.rows(shop.store, "item") == [("11", "c")]


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
def test_a_key_that_gets_another_type_keeps_its_rows_and_loses_the_deleted(
    shop: Shop, before: str, after: str, using: str
) -> None:
    first = "'A' || i" if using.startswith("right") else "i"
    shop.run(f"CREATE TABLE item (id {before} PRIMARY KEY, n int)")
    shop.run(f"INSERT INTO item SELECT {first}, i FROM generate_series(1, 5) i")
    shop.capture()
    shop.run(f"DELETE FROM item WHERE n = 2; ALTER TABLE item ALTER id TYPE {after} USING {using}")
    deleted = {str(line["id"]) for line in shop.carried() if line["_op"] == "delete"}
    assert deleted == ({f"A{i}" for i in range(1, 6)} if using.startswith("right") else {"2"})
    shop.run("DELETE FROM item WHERE n = 3; INSERT INTO item VALUES ('7', 7)")
    assert {(line["_op"], str(line["id"])) for line in shop.carried()} == {
        ("delete", "3"),
        ("upsert", "7"),
    }


def test_a_table_that_appears_is_captured_and_one_that_goes_is_no_longer_listed(
    shop: Shop,
) -> None:
    shop.stocked().run("CREATE TABLE other (id int PRIMARY KEY); INSERT INTO other VALUES (1)")
    assert shop.changes("other") == {("upsert", 1)}
    shop.run("DROP TABLE other")
    batch = shop.capture()
    assert batch is not None
    assert [table.name for table in batch.tables] == ["item"]
    assert shop.capture() is None


# What can't be read


def test_row_level_security_is_an_error_that_says_what_to_do(shop: Shop) -> None:
    """Rows are never hidden in silence."""
    shop.stocked().run("ALTER TABLE item ENABLE ROW LEVEL SECURITY")
    with pytest.raises(SourceError, match=r'"item".*BYPASSRLS.*TOTES_EXCLUDE_TABLES'):
        shop.capture()
    shop.run("CREATE POLICY hiding ON item TO totes_ingest USING (id > 1)")
    with pytest.raises(SourceError, match="BYPASSRLS"):
        shop.capture()


def test_a_missing_privilege_names_the_table_and_the_grant(shop: Shop) -> None:
    shop.stocked().run(
        'CREATE TABLE "It\'s" (id int); REVOKE ALL ON item, "It\'s" FROM totes_ingest'
    )
    with pytest.raises(SourceError) as refused:
        shop.capture()
    assert str(refused.value) == (
        "Role 'totes_ingest' may not read It's, item of the source. Its owner can run: "
        'GRANT USAGE ON SCHEMA "shop" TO "totes_ingest"; '
        'GRANT SELECT ON "shop"."It\'s", "shop"."item" TO "totes_ingest";'
    )


def test_a_missing_privilege_on_the_schema_is_said(shop: Shop) -> None:
    shop.stocked().run("REVOKE ALL ON SCHEMA shop FROM totes_ingest")
    with pytest.raises(SourceError, match=r"GRANT USAGE ON SCHEMA"):
        shop.capture()


def test_a_missing_privilege_on_a_function_is_said(shop: Shop, totesys: Totesys) -> None:
    with psycopg.connect(totesys.admin.reveal()) as connection:
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC")
        connection.execute("REVOKE EXECUTE ON FUNCTION pg_export_snapshot() FROM PUBLIC")
    with pytest.raises(SourceError) as refused:
        shop.stocked()
    assert str(refused.value) == (
        "Role 'totes_ingest' may not execute functions of the source that a capture needs. A "
        "superuser can run: "
        'GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO "totes_ingest"; '
        'GRANT EXECUTE ON FUNCTION pg_catalog.pg_export_snapshot() TO "totes_ingest";'
    )


def test_partitions_and_heirs_need_no_privilege_of_their_own(shop: Shop) -> None:
    shop.run(
        "CREATE TABLE item (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE part PARTITION OF item DEFAULT; INSERT INTO item VALUES (1);"
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE SCHEMA IF NOT EXISTS hidden;"
        "CREATE TABLE hidden.heir () INHERITS (parent);"
        "REVOKE ALL ON part, hidden.heir FROM totes_ingest"
    )
    assert shop.changes() == {("upsert", 1)}


def test_a_source_without_tables_is_an_error(shop: Shop) -> None:
    with pytest.raises(SourceError, match=r"'shop'.*no tables.*TOTES_SOURCE_SCHEMA"):
        shop.capture()


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"dbname": "nowhere"}, 'database "nowhere" does not exist'),
        ({"host": "/nowhere"}, "No such file or directory"),
        ({"user": "nobody_known"}, 'role "nobody_known" does not exist'),
    ],
)
def test_a_wrong_dsn_is_one_line_without_the_password(
    shop: Shop, parts: dict[str, str], reason: str
) -> None:
    shop.dsn = shop.dsn.replace(**parts, password="s3cret")
    with pytest.raises(SourceError, match="TOTES_SOURCE_DSN") as refused:
        shop.capture()
    message = str(refused.value)
    assert reason in message
    assert "s3cret" not in message
    assert "\n" not in message


def test_a_query_that_fails_is_one_line(shop: Shop) -> None:
    shop.stocked().run(
        "ALTER TABLE item ADD COLUMN v int GENERATED ALWAYS AS (1 / (id - 2)) VIRTUAL"
    )
    with pytest.raises(SourceError, match="division by zero") as refused:
        shop.capture()
    assert "\n" not in str(refused.value)
