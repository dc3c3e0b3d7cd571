"""Tables that are altered between batches from the log: the lake equals the source after each."""

import lake_reader
import pytest
from log_source import LogSource, entry

CHANGE = "UPDATE item SET price = price + 1 WHERE id = 1; DELETE FROM item WHERE id = 2"

ALTERATIONS = {
    "add column": "ALTER TABLE item ADD colour text DEFAULT 'blue'",
    "drop column": "ALTER TABLE item DROP COLUMN name",
    "drop and add column": "ALTER TABLE item DROP name; ALTER TABLE item ADD name text",
    "add and drop column": "ALTER TABLE item ADD more int DEFAULT 7; ALTER TABLE item DROP more",
    "rename column": "ALTER TABLE item RENAME name TO title",
    "swap columns": (
        "ALTER TABLE item ADD other text DEFAULT 'x'; ALTER TABLE item RENAME name TO was;"
        "ALTER TABLE item RENAME other TO name; ALTER TABLE item RENAME was TO other"
    ),
    "change type": "ALTER TABLE item ALTER price TYPE text USING 'about ' || price",
    "narrow type": "ALTER TABLE item ALTER price TYPE numeric(9, 1)",
    "rename label": "ALTER TYPE size RENAME VALUE 'small' TO 'tiny'",
    "add attribute": "ALTER TYPE place ADD ATTRIBUTE floor int CASCADE",
    "rename table": "ALTER TABLE item RENAME TO thing",
    "swap tables": (
        "ALTER TABLE item RENAME TO was; ALTER TABLE other RENAME TO item;"
        "ALTER TABLE was RENAME TO other"
    ),
    "drop and recreate": (
        "DROP TABLE item; CREATE TABLE item (id int PRIMARY KEY, name text, price numeric);"
        "INSERT INTO item VALUES (1, 'new', 1)"
    ),
    "other key": "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (name)",
    "no key": "ALTER TABLE item DROP CONSTRAINT item_pkey",
    "child": "CREATE TABLE child () INHERITS (item); INSERT INTO child VALUES (77, 'child', 1)",
    "rewrite": "VACUUM FULL item",
    "cluster": "CLUSTER item USING item_pkey",
    "grant": "GRANT SELECT ON item TO PUBLIC",
    "full identity": "ALTER TABLE item REPLICA IDENTITY FULL",
}

BACK_AND_FORTH = {
    "identity": (
        "ALTER TABLE item REPLICA IDENTITY USING INDEX by_name",
        "UPDATE item SET id = 33 WHERE id = 3; DELETE FROM item WHERE id = 2",
        "ALTER TABLE item REPLICA IDENTITY DEFAULT",
    ),
    "unlogged": (
        "ALTER PUBLICATION totes DROP TABLE item; ALTER TABLE item SET UNLOGGED",
        "UPDATE item SET id = 33 WHERE id = 3; DELETE FROM item WHERE id = 2",
        "ALTER TABLE item SET LOGGED; ALTER PUBLICATION totes ADD TABLE item",
    ),
    "publication": (
        "ALTER PUBLICATION totes DROP TABLE item",
        "UPDATE item SET id = 33 WHERE id = 3; DELETE FROM item WHERE id = 2",
        "ALTER PUBLICATION totes ADD TABLE item",
    ),
    "operations": (
        "ALTER PUBLICATION totes SET (publish = 'insert')",
        "UPDATE item SET id = 33 WHERE id = 3; DELETE FROM item WHERE id = 2",
        "ALTER PUBLICATION totes SET (publish = 'insert, update, delete, truncate')",
    ),
    "label": (
        "ALTER TYPE size RENAME VALUE 'small' TO 'tiny'",
        "UPDATE item SET size = 'tiny' WHERE id = 3",
        "ALTER TYPE size RENAME VALUE 'tiny' TO 'small'",
    ),
    "attribute": (
        "ALTER TYPE place ADD ATTRIBUTE floor int CASCADE",
        "UPDATE item SET place = '(y,2)' WHERE id = 3",
        "ALTER TYPE place DROP ATTRIBUTE floor CASCADE",
    ),
    "column": (
        "ALTER TABLE item RENAME name TO title",
        "UPDATE item SET title = 'x' WHERE id = 3",
        "ALTER TABLE item RENAME title TO name",
    ),
    "table": (
        "ALTER TABLE item RENAME TO thing",
        "UPDATE thing SET name = 'x' WHERE id = 3",
        "ALTER TABLE thing RENAME TO item",
    ),
    "type": (
        "ALTER TABLE item ALTER id TYPE bigint",
        "UPDATE item SET id = 33 WHERE id = 3",
        "ALTER TABLE item ALTER id TYPE int",
    ),
    "key": (
        "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (name)",
        "UPDATE item SET id = 33 WHERE id = 3; DELETE FROM item WHERE id = 2",
        "ALTER TABLE item DROP CONSTRAINT item_pkey, ADD PRIMARY KEY (id)",
    ),
}


def begin(source: LogSource) -> LogSource:
    """Create tables that can be altered in all ways, and capture them."""
    source.begin_item(
        5,
        more="CREATE TYPE size AS ENUM ('small', 'large'); CREATE TYPE place AS (shelf text);"
        "ALTER TABLE item ADD size size DEFAULT 'small', ADD place place DEFAULT '(x)',"
        " ALTER name SET NOT NULL; CREATE UNIQUE INDEX by_name ON item (name);"
        "CREATE TABLE other (LIKE item INCLUDING ALL); INSERT INTO other SELECT * FROM item;"
        "UPDATE other SET name = 'other ' || id, id = id + 100",
    )
    source.publish("other")
    source.read_batch()
    source.run("SELECT pg_current_xact_id()")
    source.read_log()
    return source


def check_all(source: LogSource) -> None:
    source.read_log()
    tables = {table.name for table in lake_reader.batches(source.store)[-1].source_tables}
    source.check_lake(*(tables & {"item", "thing", "other"}))


@pytest.mark.few(5)
@pytest.mark.parametrize("alteration", ALTERATIONS)
def test_an_altered_table_equals_the_source(any_log_source: LogSource, alteration: str) -> None:
    source = begin(any_log_source)
    source.run(CHANGE)
    source.run(ALTERATIONS[alteration])
    check_all(source)
    for _ in range(2):
        source.administer("UPDATE other SET price = price + 1")
        check_all(source)
    source.check_scan_finds_nothing()
    check_all(source)


@pytest.mark.few(4)
@pytest.mark.parametrize("quiet_seconds", [20.0, 0.0])
@pytest.mark.parametrize("alteration", BACK_AND_FORTH)
def test_an_alteration_that_was_reverted_leaves_no_difference(
    any_log_source: LogSource, alteration: str, quiet_seconds: float
) -> None:
    source = begin(any_log_source)
    source.reader.quiet_seconds = quiet_seconds
    source.administer(*BACK_AND_FORTH[alteration], "UPDATE item SET price = 7 WHERE id = 4")
    source.read_log()
    source.new_reader()
    check_all(source)
    source.run("UPDATE item SET price = 8 WHERE id = 4")
    assert entry(source.read_batch()).of_log
    check_all(source)


@pytest.mark.few(1)
def test_values_of_an_update_that_the_log_lacks_are_scanned(any_log_source: LogSource) -> None:
    """An update does not write a large value to the log that it leaves as it is."""
    source = any_log_source
    source.run(
        "CREATE TABLE item (id int PRIMARY KEY, n int, large text);"
        "ALTER TABLE item ALTER large SET STORAGE EXTERNAL;"
        "CREATE TABLE other (LIKE item INCLUDING ALL); ALTER TABLE other REPLICA IDENTITY FULL;"
        "INSERT INTO item SELECT i, i, repeat('x', 9000) FROM generate_series(1, 3) i;"
        "INSERT INTO other SELECT * FROM item"
    )
    source.publish("item", "other")
    source.read_batch()
    source.run("UPDATE item SET n = 7 WHERE id = 1; UPDATE other SET n = 7 WHERE id = 1")
    batch = source.read_batch()
    assert (entry(batch).of_log, entry(batch, "other").of_log) == (False, True)
    source.check_lake("item", "other")
    source.run("UPDATE item SET large = 'y' WHERE id = 1; DELETE FROM item WHERE id = 2")
    assert entry(source.read_batch()).of_log
    source.check_lake("item", "other")


NOT_IN_LOG = {
    "keyless": "CREATE TABLE other (id int, n int)",
    "partitioned": (
        "CREATE TABLE other (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);"
        "CREATE TABLE part PARTITION OF other DEFAULT"
    ),
    "inherited": (
        "CREATE TABLE other (id int PRIMARY KEY, n int); CREATE TABLE child () INHERITS (other);"
        "ALTER TABLE child REPLICA IDENTITY FULL"
    ),
    "generated": (
        "CREATE TABLE other (id int PRIMARY KEY, n int, m int GENERATED ALWAYS AS (n) STORED)"
    ),
    "not published": "CREATE TABLE other (id int PRIMARY KEY, n int)",
    "columns": "CREATE TABLE other (id int PRIMARY KEY, n int)",
    "rows": "CREATE TABLE other (id int PRIMARY KEY, n int)",
}

PUBLISHED_AS = {
    "columns": "ALTER PUBLICATION totes ADD TABLE other (id)",
    "rows": "ALTER PUBLICATION totes ADD TABLE other WHERE (id > 1)",
    "not published": "SELECT 1",
    "keyless": "ALTER TABLE other REPLICA IDENTITY FULL; ALTER PUBLICATION totes ADD TABLE other",
}


@pytest.mark.few(3)
@pytest.mark.parametrize("kind", NOT_IN_LOG)
def test_a_table_that_is_not_wholly_in_the_log_is_scanned_beside_others(
    any_log_source: LogSource, kind: str
) -> None:
    source = any_log_source.begin_item()
    source.run(NOT_IN_LOG[kind])
    source.administer(PUBLISHED_AS.get(kind, "ALTER PUBLICATION totes ADD TABLE other"))
    for number in range(3):
        source.run(
            f"INSERT INTO other (id, n) VALUES ({number}, 0); UPDATE other SET n = n + 1;"
            "UPDATE item SET price = price + 1"
        )
        batch = source.read_batch()
        assert (entry(batch).of_log, entry(batch, "other").of_log) == (True, False)
        source.check_lake("item", "other")


@pytest.mark.few(1)
def test_an_unlogged_table_is_left_out_until_it_is_logged(any_log_source: LogSource) -> None:
    source = any_log_source.begin_item()
    source.run("CREATE UNLOGGED TABLE other (id int PRIMARY KEY)")
    source.run("INSERT INTO other VALUES (1); UPDATE item SET price = 1")
    assert source.read_batch().table("other") is None
    source.run("ALTER TABLE other SET LOGGED")
    source.publish("other")
    source.run("INSERT INTO other VALUES (2)")
    assert entry(source.read_batch(), "other").rows == 2
    source.check_lake("item", "other")


@pytest.mark.few(1)
def test_rows_from_before_a_table_was_published_are_not_missed(any_log_source: LogSource) -> None:
    """ALTER PUBLICATION does not wait for a transaction that has written to the table."""
    source = any_log_source.begin_item()
    source.run("CREATE TABLE other (id int PRIMARY KEY)")
    with source.open() as open_one:
        open_one.execute("INSERT INTO other VALUES (1)")
        source.administer("ALTER PUBLICATION totes ADD TABLE other")
        source.read_batch()
        open_one.execute("INSERT INTO other VALUES (2)")
        source.run("INSERT INTO other VALUES (3)")
        assert not entry(source.read_batch(), "other").of_log
        source.check_lake("item", "other")
        open_one.commit()
    source.run("INSERT INTO other VALUES (4)")
    source.read_batch()
    source.check_lake("item", "other")
    source.run("INSERT INTO other VALUES (5)")
    assert len(source.lines_in_log("other")) == 1
    source.check_lake("item", "other")
