"""What the publication and the catalogue say about tables, on new and older servers."""

from contextlib import nullcontext

import psycopg
import pytest
from database import execute
from psycopg import sql
from scratch_source import CREATE_ITEM, INSERT_ITEMS, ScratchSource

from totes.config.dsn import Dsn
from totes.source import session
from totes.source.catalogue import read_catalogue
from totes.source.log.publication import (
    PublishedTable,
    find_toasted_tables,
    read_publication,
)

pytestmark = pytest.mark.few(8)

PUBLISH = "CREATE PUBLICATION totes FOR TABLE scratch.item"


def superuser(source: ScratchSource) -> Dsn:
    return source.owner.replace(user="postgres")


def administer(source: ScratchSource, *statements: str) -> None:
    """Execute statements as superuser, each in a transaction of its own."""
    execute(superuser(source).replace(options="-csearch_path=scratch"), *statements)


def read(source: ScratchSource, publication: str = "totes") -> dict[str, PublishedTable]:
    with session.connect(source.dsn) as connection:
        tables = read_catalogue(connection, source.scope).tables
        return read_publication(connection, publication, tables)


def reason(source: ScratchSource, table: str = "item") -> str:
    return read(source)[table].reason


def version(source: ScratchSource) -> int:
    with source.open() as connection:
        return connection.info.server_version // 10000


@pytest.fixture
def published(any_scratch_source: ScratchSource) -> ScratchSource:
    """A published table `item` with three rows."""
    any_scratch_source.run(f"{CREATE_ITEM}; {INSERT_ITEMS.format(3)}; {PUBLISH}")
    return any_scratch_source


# Reasons to scan a table


@pytest.mark.few(1)
def test_a_published_table_with_a_key_is_in_the_log(published: ScratchSource) -> None:
    assert reason(published) == ""


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("ALTER TABLE item DROP CONSTRAINT item_pkey", "it has no primary key"),
        (
            "CREATE TABLE child (more text) INHERITS (item)",
            "other tables inherit from it",
        ),
        (
            "ALTER TABLE item REPLICA IDENTITY NOTHING",
            "its replica identity is NOTHING",
        ),
        (
            (
                "ALTER TABLE item ALTER name SET NOT NULL;"
                "CREATE UNIQUE INDEX named ON item (name);"
                "ALTER TABLE item REPLICA IDENTITY USING INDEX named"
            ),
            "its replica identity is an index that is not the primary key's",
        ),
        (
            "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (id) DEFERRABLE",
            "its primary key is deferrable, which can't be a replica identity",
        ),
        (
            "ALTER PUBLICATION totes RENAME TO other",
            "there is no publication totes",
        ),
        (
            "ALTER PUBLICATION totes DROP TABLE item",
            "it is not in publication totes",
        ),
        (
            "ALTER PUBLICATION totes SET (publish = 'insert')",
            "the publication leaves out updates, deletes, truncations",
        ),
        (
            "ALTER PUBLICATION totes SET (publish = 'update, delete, truncate')",
            "the publication leaves out inserts",
        ),
        (
            "ALTER PUBLICATION totes SET TABLE item WHERE (id > 1)",
            "the publication filters its rows",
        ),
        (
            "ALTER PUBLICATION totes SET TABLE item (id, price)",
            "the publication leaves out columns: name",
        ),
        (
            "ALTER TABLE item ADD double numeric GENERATED ALWAYS AS (price * 2) STORED",
            "it has generated columns, which the publication leaves out: double",
        ),
    ],
)
def test_a_table_that_the_log_does_not_have_exactly_has_a_reason(
    published: ScratchSource, script: str, expected: str
) -> None:
    published.run(script)
    assert reason(published) == expected


@pytest.mark.parametrize(
    "script",
    [
        "ALTER TABLE item REPLICA IDENTITY FULL",
        "ALTER TABLE item REPLICA IDENTITY USING INDEX item_pkey",
        (
            "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (id) DEFERRABLE;"
            "ALTER TABLE item REPLICA IDENTITY FULL"
        ),
        "ALTER PUBLICATION totes SET TABLE item (price, id, name)",
        "ALTER TABLE item DROP COLUMN name",
        ("ALTER TABLE item DROP COLUMN name;ALTER PUBLICATION totes SET TABLE item (id, price)"),
    ],
)
def test_a_table_whose_rows_the_log_can_tell_apart_has_none(
    published: ScratchSource, script: str
) -> None:
    published.run(script)
    assert reason(published) == ""


@pytest.mark.few(1)
def test_partitioned_tables_and_partitions_have_a_reason(published: ScratchSource) -> None:
    published.run(
        "CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE SCHEMA elsewhere;"
        "CREATE TABLE elsewhere.root (id int PRIMARY KEY) PARTITION BY RANGE (id);"
        "CREATE TABLE part PARTITION OF elsewhere.root DEFAULT;"
        "ALTER PUBLICATION totes ADD TABLE parted, part"
    )
    assert reason(published, "parted") == "it is partitioned"
    assert reason(published, "part") == "it is a partition"
    assert reason(published) == ""


@pytest.mark.few(1)
def test_all_tables_and_whole_schemas_are_published_tables(published: ScratchSource) -> None:
    published.run("DROP PUBLICATION totes")
    administer(published, "CREATE PUBLICATION totes FOR ALL TABLES")
    assert reason(published) == ""
    administer(
        published, "DROP PUBLICATION totes", "CREATE PUBLICATION totes FOR TABLES IN SCHEMA scratch"
    )
    assert reason(published) == ""
    administer(published, "ALTER PUBLICATION totes SET TABLES IN SCHEMA public")
    assert reason(published) == "it is not in publication totes"


@pytest.mark.parametrize(
    ("script", "blocks"),
    [
        ("ALTER TABLE item DROP CONSTRAINT item_pkey", True),
        ("ALTER TABLE item REPLICA IDENTITY NOTHING", True),
        ("ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (id) DEFERRABLE", True),
        ("ALTER TABLE item DROP CONSTRAINT item_pkey, REPLICA IDENTITY FULL", False),
        (
            "ALTER PUBLICATION totes DROP TABLE item; ALTER TABLE item DROP CONSTRAINT item_pkey",
            False,
        ),
        ("SELECT 1", False),
    ],
)
def test_tables_that_the_publication_keeps_the_application_from_changing_are_known(
    published: ScratchSource, script: str, *, blocks: bool
) -> None:
    published.run(script)
    assert read(published)["item"].blocks_writes == blocks
    failure = pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState)
    with failure if blocks else nullcontext():
        published.run("UPDATE item SET price = 1")


@pytest.mark.few(1)
def test_stored_generated_columns_can_be_published(published: ScratchSource) -> None:
    if version(published) < 18:
        pytest.skip("publish_generated_columns is an option of PostgreSQL 18")
    published.run(
        "ALTER TABLE item ADD double numeric GENERATED ALWAYS AS (price * 2) STORED;"
        "ALTER PUBLICATION totes SET (publish_generated_columns = stored)"
    )
    assert reason(published) == ""
    published.run("ALTER TABLE item ADD triple numeric GENERATED ALWAYS AS (price * 3) VIRTUAL")
    assert reason(published).endswith("which the publication leaves out: triple")


@pytest.mark.few(1)
def test_text_of_an_ascii_server_may_not_be_utf8(published: ScratchSource) -> None:
    administer(
        published,
        "CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc"
        " LOCALE 'C'",
    )
    ascii_source = ScratchSource(
        superuser(published).replace(dbname="ascii"),
        superuser(published).replace(dbname="ascii"),
        published.lake,
        published.scope,
    )
    try:
        execute(ascii_source.owner, "CREATE SCHEMA scratch")
        ascii_source.run(f"{CREATE_ITEM}; {PUBLISH}")
        assert reason(ascii_source) == "the server's encoding SQL_ASCII does not guarantee UTF-8"
    finally:
        administer(published, "DROP DATABASE ascii")


@pytest.mark.few(1)
def test_a_table_that_was_dropped_meanwhile_has_a_reason(published: ScratchSource) -> None:
    with session.connect(published.dsn) as connection:
        tables = read_catalogue(connection, published.scope).tables
        published.run("DROP TABLE item")
        [table] = read_publication(connection, "totes", tables).values()
    assert table.reason == "it no longer exists"


@pytest.mark.few(1)
def test_names_are_values_not_sql(published: ScratchSource) -> None:
    name = "to'tes\" {tables}"
    published.run(f"{CREATE_ITEM.replace('item', 'other')}")
    with published.open() as connection:
        connection.execute(
            sql.SQL("CREATE PUBLICATION {} FOR TABLE other").format(sql.Identifier(name))
        )
    tables = read(published, name)
    assert tables["other"].reason == ""
    assert tables["item"].reason == f"it is not in publication {name}"


@pytest.mark.few(1)
def test_nothing_is_locked_or_waited_for(published: ScratchSource) -> None:
    with published.open() as other:
        other.execute("ALTER TABLE item ADD colour text")
        with session.connect(published.dsn) as connection:
            tables = read_catalogue(connection, published.scope).tables
            assert read_publication(connection, "totes", tables)["item"].reason == ""
            assert find_toasted_tables(connection, tables) == list(tables)
        other.rollback()


# When rows may have changed without a trace in the log


@pytest.mark.parametrize(
    "script",
    [
        "ALTER PUBLICATION totes DROP TABLE item; ALTER PUBLICATION totes ADD TABLE item",
        "DROP PUBLICATION totes; CREATE PUBLICATION totes FOR TABLE item",
        (
            "ALTER PUBLICATION totes SET (publish = 'insert');"
            "ALTER PUBLICATION totes SET (publish = 'insert, update, delete, truncate')"
        ),
        (
            "ALTER PUBLICATION totes SET TABLE item WHERE (id > 1);"
            "ALTER PUBLICATION totes SET TABLE item"
        ),
        "ALTER TABLE item ALTER price TYPE numeric USING price + 1",
        "ALTER TABLE item ADD colour text DEFAULT 'blue'; ALTER TABLE item DROP colour",
        "ALTER TABLE item REPLICA IDENTITY FULL",
        "ALTER TABLE item REPLICA IDENTITY USING INDEX item_pkey",
        "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (id)",
        "ALTER TABLE item ALTER name SET DEFAULT 'none'",
        (
            "DROP TABLE item; CREATE TABLE item (id int PRIMARY KEY, name text, price numeric);"
            "ALTER PUBLICATION totes ADD TABLE item"
        ),
    ],
)
def test_the_definition_differs_when_rows_may_have_changed_unseen(
    published: ScratchSource, script: str
) -> None:
    before = read(published)["item"]
    for statement in script.split(";"):
        published.run(statement)
    assert read(published)["item"].definition != before.definition


@pytest.mark.few(1)
def test_the_definition_differs_when_a_whole_schema_was_left_out_for_a_while(
    published: ScratchSource,
) -> None:
    administer(
        published, "DROP PUBLICATION totes", "CREATE PUBLICATION totes FOR TABLES IN SCHEMA scratch"
    )
    before = read(published)["item"]
    administer(
        published,
        "ALTER PUBLICATION totes DROP TABLES IN SCHEMA scratch",
        "ALTER PUBLICATION totes ADD TABLES IN SCHEMA scratch",
    )
    after = read(published)["item"]
    assert after.reason == ""
    assert after.definition != before.definition


@pytest.mark.parametrize("between", ["FULL", "NOTHING"])
def test_a_replica_identity_that_was_changed_and_changed_back_is_noticed(
    published: ScratchSource, between: str
) -> None:
    before = read(published)["item"]
    published.run(f"ALTER TABLE item REPLICA IDENTITY {between}")
    published.run("ALTER TABLE item REPLICA IDENTITY DEFAULT")
    after = read(published)["item"]
    assert after.reason == ""
    assert after.class_xmin != before.class_xmin


@pytest.mark.parametrize(
    "script",
    [
        "INSERT INTO item VALUES (4, 'item', 1); UPDATE item SET price = 2; DELETE FROM item",
        "VACUUM item",
        "VACUUM (FREEZE, ANALYZE) item",
        "ANALYZE item",
        "CREATE INDEX ON item (name)",
        "CREATE UNIQUE INDEX ON item (price, id)",
        "REINDEX TABLE item",
    ],
)
def test_nothing_differs_when_rows_are_written_or_maintained(
    published: ScratchSource, script: str
) -> None:
    before = read(published)
    published.run(script)
    assert read(published) == before


@pytest.mark.few(1)
def test_other_tables_of_the_publication_do_not_matter(published: ScratchSource) -> None:
    before = read(published)["item"]
    published.run(
        "CREATE TABLE other (id int PRIMARY KEY); ALTER PUBLICATION totes ADD TABLE other;"
        "CREATE PUBLICATION another FOR TABLE item"
    )
    assert read(published)["item"] == before


@pytest.mark.few(1)
def test_a_truncation_changes_the_class_alone(published: ScratchSource) -> None:
    before = read(published)["item"]
    published.run("TRUNCATE item")
    after = read(published)["item"]
    assert after.definition == before.definition
    assert after.class_xmin != before.class_xmin
    with published.open() as connection:
        [(xmin,)] = connection.execute(
            "SELECT xmin::text::bigint FROM pg_class WHERE oid = 'item'::regclass"
        ).fetchall()
    assert after.class_xmin == xmin


# Tables that may be scanned now and then


@pytest.mark.few(1)
def test_tables_with_large_values_may_be_scanned(published: ScratchSource) -> None:
    published.run(
        "CREATE TABLE small (id int PRIMARY KEY, at timestamp);"
        "CREATE TABLE whole (id int PRIMARY KEY, note text);"
        "ALTER TABLE whole REPLICA IDENTITY FULL"
    )
    with session.connect(published.dsn) as connection:
        tables = read_catalogue(connection, published.scope).tables
        assert [t.name for t in find_toasted_tables(connection, tables)] == ["item"]


@pytest.mark.few(1)
def test_every_role_may_read_it(published: ScratchSource) -> None:
    administer(published, "DROP ROLE IF EXISTS nobody_at_all", "CREATE ROLE nobody_at_all LOGIN")
    database = sql.Identifier(str(published.owner.parts["dbname"]))
    with psycopg.connect(superuser(published).reveal()) as connection:
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO nobody_at_all").format(database)
        )
    with session.connect(published.dsn) as connection:
        tables = read_catalogue(connection, published.scope).tables
    with session.connect(published.dsn.replace(user="nobody_at_all")) as connection:
        assert read_publication(connection, "totes", tables)["item"].reason == ""
    with psycopg.connect(superuser(published).reveal()) as connection:
        connection.execute(
            sql.SQL("REVOKE CONNECT ON DATABASE {} FROM nobody_at_all").format(database)
        )
        connection.execute("DROP ROLE nobody_at_all")
