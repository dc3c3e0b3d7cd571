"""Unreadable values are recorded with table, key, column and reason; the rest is captured."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lake_reader
import psycopg
import pytest
from installation import Installation
from lake_reader import Line
from psycopg import sql
from scratch_source import GRANTS, ScratchSource

from conftest import EmptyWarehouse
from totes.config.dsn import Dsn
from totes.embedded.schema import totesys_sql
from totes.embedded.servers import EmbeddedServer, Source, prepare_source
from totes.errors import SourceError
from totes.lake.folder import FolderStore
from totes.lake.manifest import UNREADABLE_FIELD
from totes.operations.gc import find_orphaned_files
from totes.operations.unreadable import list_unreadable_values
from totes.source import changes, reading
from totes.source.changes import Chunk

pytestmark = pytest.mark.few(4)

RATIO = "CREATE TABLE item (id int PRIMARY KEY, a int, b int, c int GENERATED ALWAYS AS (a / b))"
"""The last column is a virtual generated column, which raises an error if `b` is 0."""


@contextmanager
def encoded(server: EmbeddedServer, name: str, encoding: str) -> Iterator[tuple[Dsn, Dsn]]:
    """Create a database with another encoding; yield the DSNs of its owner and the platform."""
    with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
        connection.execute(
            sql.SQL(
                "CREATE DATABASE {} OWNER totesys_app ENCODING {} LOCALE 'C' TEMPLATE template0"
            ).format(sql.Identifier(name), encoding)
        )
    try:
        made = server.dsn.replace(dbname=name)
        yield made.replace(user="totesys_app"), made.replace(user="totes_ingest")
    finally:
        with psycopg.connect(server.dsn.reveal(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            )


@pytest.fixture
def raw_source(
    server: EmbeddedServer,
    template: Source,  # noqa: ARG001  which makes the roles
    database_names: Iterator[str],
    tmp_path: Path,
) -> Iterator[ScratchSource]:
    """A source with encoding SQL_ASCII, in which a text may contain any bytes."""
    with encoded(server, next(database_names), "SQL_ASCII") as (owner, dsn):
        with psycopg.connect(owner.reveal()) as connection:
            connection.execute(GRANTS)
        yield ScratchSource(owner, dsn, tmp_path / "raw")


def unreadable_values(scratch_source: ScratchSource) -> set[tuple[str, str]]:
    """Return key and column of every unreadable value in the newest batch."""
    return {(value.key, value.column) for value in list_unreadable_values(scratch_source.store)}


def by_id(lines: list[Line]) -> dict[object, Line]:
    return {line["id"]: line for line in lines}


def test_bytes_that_are_not_utf8_are_stored_as_hex_and_other_values_are_captured(
    raw_source: ScratchSource,
) -> None:
    raw_source.run(
        "CREATE TABLE item (id int PRIMARY KEY, name text, tags text[], data json);"
        r"INSERT INTO item VALUES (1, E'caf\303\251', '{a}', '1'), (2, E'caf\351', '{b}', '2'),"
        r" (3, 'c', ARRAY[E'\377'], '3'), (4, 'd', '{d}', E'\"\351\"')"
    )
    lines = by_id(raw_source.captured_lines())
    assert lines[1]["name"] == "café"
    assert lines[2]["name"] == {
        UNREADABLE_FIELD: 'invalid byte sequence for encoding "UTF8": 0xe9',
        "hex": "636166e9",
    }
    assert lines[2]["tags"] == "{b}"
    assert lines[3]["tags"]["hex"] == b"{\xff}".hex()
    assert lines[4]["data"]["hex"] == b'"\xe9"'.hex()
    assert unreadable_values(raw_source) == {("2", "name"), ("3", "tags"), ("4", "data")}
    [batch] = lake_reader.batches(raw_source.store)
    [table] = batch.tables
    assert (table.rows, [(file.rows, file.unreadable) for file in table.files]) == (4, [(4, 3)])


def test_the_key_of_an_unreadable_row_is_live_until_it_is_deleted(
    raw_source: ScratchSource,
) -> None:
    raw_source.add_items(200)
    raw_source.run(r"UPDATE item SET name = E'\351' WHERE id IN (7, 8, 9)")
    assert raw_source.changes() == {("upsert", 7), ("upsert", 8), ("upsert", 9)}
    raw_source.run("DELETE FROM item WHERE id IN (1, 9)")
    assert raw_source.changes() == {("delete", 1), ("delete", 9)}, "and those alone, by their keys"
    assert unreadable_values(raw_source) == {("7", "name"), ("8", "name")}
    raw_source.run("UPDATE item SET name = 'repaired' WHERE id = 7")
    assert raw_source.changes() == {("upsert", 7)}
    assert unreadable_values(raw_source) == {("8", "name")}
    raw_source.run("ALTER TABLE item ADD extra int DEFAULT 3")
    assert len(raw_source.changes()) == 198
    assert unreadable_values(raw_source) == {("8", "name")}, "in a capture of the whole table, too"


def test_an_unreadable_row_is_captured_once_while_a_long_transaction_is_open(
    raw_source: ScratchSource,
) -> None:
    raw_source.add_items()
    with raw_source.open() as long:
        long.execute("INSERT INTO item VALUES (10)")
        raw_source.run(r"UPDATE item SET name = E'\351' WHERE id = 1")
        assert raw_source.changes() == {("upsert", 1)}
        assert raw_source.capture() is None
        raw_source.run("UPDATE item SET price = 0 WHERE id = 2")
        assert raw_source.changes() == {("upsert", 2)}
        assert unreadable_values(raw_source) == {("1", "name")}
    assert raw_source.changes() == {("upsert", 10)}
    assert unreadable_values(raw_source) == {("1", "name")}


def test_a_row_with_an_unreadable_key_is_captured_as_deleted_only_after_its_deletion(
    raw_source: ScratchSource,
) -> None:
    raw_source.run(
        "CREATE TABLE item (code text PRIMARY KEY, n int);"
        r"INSERT INTO item SELECT 'k' || i, i FROM generate_series(1, 50) i;"
        r"INSERT INTO item VALUES (E'\351', 0), (E'\352', 0)"
    )
    assert len(raw_source.captured_lines()) == 52
    raw_source.run("DELETE FROM item WHERE n = 3")
    assert [line["code"] for line in raw_source.captured_lines() if line["_op"] == "delete"] == [
        "k3"
    ]
    raw_source.run(r"DELETE FROM item WHERE code = E'\352'")
    [deleted] = [line["code"] for line in raw_source.captured_lines() if line["_op"] == "delete"]
    assert deleted["hex"] == "ea"
    assert len(list_unreadable_values(raw_source.store)) == 1


def test_a_table_without_a_key_is_captured_with_its_unreadable_values(
    raw_source: ScratchSource,
) -> None:
    raw_source.run(r"CREATE TABLE item (name text); INSERT INTO item VALUES ('a'), (E'\351')")
    assert len(raw_source.captured_lines()) == 2
    raw_source.run("UPDATE item SET name = 'b' WHERE name = 'a'")
    assert [
        line["name"] for line in raw_source.captured_lines() if isinstance(line["name"], str)
    ] == ["b"]
    [value] = list_unreadable_values(raw_source.store)
    assert (value.table, value.key, value.column) == ("item", "", "name")


def test_a_name_that_is_not_utf8_is_reported(raw_source: ScratchSource) -> None:
    raw_source.run(r"CREATE TABLE item (id int PRIMARY KEY)")
    with psycopg.connect(raw_source.owner.reveal(), client_encoding="SQL_ASCII") as connection:
        connection.execute(b'ALTER TABLE scratch.item ADD "caf\xe9" int')
    with pytest.raises(SourceError, match=r"A name in the catalogue .* rename"):
        raw_source.capture()


@pytest.mark.usefixtures("template")
def test_an_encoding_without_conversion_to_utf8_is_reported(
    server: EmbeddedServer, database_names: Iterator[str], tmp_path: Path
) -> None:
    with encoded(server, next(database_names), "MULE_INTERNAL") as (owner, dsn):
        mule = ScratchSource(owner, dsn, tmp_path / "mule")
        with pytest.raises(SourceError, match="MULE_INTERNAL is not supported: use a database"):
            mule.capture()


@pytest.mark.usefixtures("template")
def test_a_character_without_equivalent_in_utf8_is_replaced(
    server: EmbeddedServer, database_names: Iterator[str], tmp_path: Path
) -> None:
    with encoded(server, next(database_names), "WIN1252") as (owner, dsn):
        windows = ScratchSource(owner, dsn, tmp_path / "windows")
        windows.run(
            f"{GRANTS}; CREATE TABLE item (id int PRIMARY KEY, name text);"
            "INSERT INTO item VALUES (1, chr(233)), (2, 'caf' || chr(129))"
        )
        lines = by_id(windows.captured_lines())
    assert lines[1]["name"] == "é"
    assert "no equivalent" in lines[2]["name"][UNREADABLE_FIELD]
    assert lines[2]["name"]["hex"] == "63616681"


@pytest.mark.parametrize("key", ["id int PRIMARY KEY", "id int"])
def test_rows_whose_generated_column_fails_are_found(
    scratch_source: ScratchSource, key: str
) -> None:
    scratch_source.run(RATIO.replace("id int PRIMARY KEY", key))
    scratch_source.run("INSERT INTO item SELECT i, i, i % 40 FROM generate_series(1, 400) i")
    lines = scratch_source.captured_lines()
    assert len(lines) == 400
    assert {line["id"] for line in lines if isinstance(line["c"], dict)} == set(range(40, 401, 40))
    assert by_id(lines)[40]["c"] == {UNREADABLE_FIELD: "division by zero"}
    assert by_id(lines)[41]["c"] == 41
    scratch_source.run("UPDATE item SET b = 1 WHERE id = 40; UPDATE item SET b = 0 WHERE id = 1")
    by_key = by_id(scratch_source.captured_lines())
    assert by_key[40]["c"] == 40
    assert by_key[1]["c"] == {UNREADABLE_FIELD: "division by zero"}
    assert len(list_unreadable_values(scratch_source.store)) == 10


def test_unreadable_rows_in_several_partitions_are_distinguished(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows of several partitions have the same ctid."""
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 100_000)
    monkeypatch.setattr(reading, "_WIDE_RANGE_BYTES", 50_000)
    scratch_source.run(
        "CREATE TABLE item (id int PRIMARY KEY, b int, note text,"
        " c int GENERATED ALWAYS AS (id / b)) PARTITION BY LIST (id);"
        "CREATE TABLE one PARTITION OF item FOR VALUES IN (1, 2, 3);"
        "CREATE TABLE two PARTITION OF item FOR VALUES IN (4, 5, 6);"
        "ALTER TABLE one ALTER note SET STORAGE EXTERNAL;"
        "ALTER TABLE two ALTER note SET STORAGE EXTERNAL;"
        "INSERT INTO item SELECT i, i % 3, repeat('x', 40000 * (i % 4))"
        " FROM generate_series(1, 6) i"
    )
    lines = by_id(scratch_source.captured_lines())
    assert len(lines) == 6
    assert unreadable_values(scratch_source) == {("3", "c"), ("6", "c"), ("3", "note")}
    assert lines[6]["note"] == "x" * 80000


def test_a_table_with_only_unreadable_rows_is_captured(scratch_source: ScratchSource) -> None:
    scratch_source.run(f"{RATIO}; INSERT INTO item SELECT i, i, 0 FROM generate_series(1, 30) i")
    assert [line["c"] for line in scratch_source.captured_lines()] == [
        {UNREADABLE_FIELD: "division by zero"}
    ] * 30


def test_a_damaged_value_is_replaced(
    scratch_source: ScratchSource, totesys_admin: psycopg.Connection
) -> None:
    scratch_source.run(
        "CREATE TABLE item (id int PRIMARY KEY, note text);"
        "ALTER TABLE item ALTER note SET STORAGE EXTERNAL;"
        "INSERT INTO item SELECT i, repeat('x', 10000) FROM generate_series(1, 9) i"
    )
    [(toast,)] = totesys_admin.execute(
        "SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = 'scratch.item'::regclass"
    ).fetchall()
    totesys_admin.execute("SET allow_system_table_mods = on")
    name = sql.Identifier(*toast.split("."))
    kind = "UPDATE pg_class SET relkind = %s WHERE oid = %s::regclass"
    totesys_admin.execute(kind, ["r", toast])  # rows of a TOAST table can't be deleted otherwise
    totesys_admin.execute(
        sql.SQL("DELETE FROM {0} WHERE chunk_id = (SELECT max(chunk_id) FROM {0})").format(name)
    )
    totesys_admin.execute(kind, ["t", toast])
    lines = by_id(scratch_source.captured_lines())
    assert "chunk number" in lines[9]["note"][UNREADABLE_FIELD]
    assert all(lines[number]["note"] == "x" * 10000 for number in range(1, 9))


@pytest.fixture
def totesys_admin(
    scratch_source: ScratchSource, server: EmbeddedServer
) -> Iterator[psycopg.Connection]:
    dsn = server.dsn.replace(dbname=str(scratch_source.owner.parts["dbname"]))
    with psycopg.connect(dsn.reveal(), autocommit=True) as connection:
        yield connection


def test_wide_rows_are_read_a_few_at_a_time(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their ctids must be sorted as numbers, not as text."""
    read: list[int] = []
    read_range = changes.read_range

    def watched(*arguments: Any, **further: Any) -> Chunk:
        chunk = read_range(*arguments, **further)
        read.append(len(chunk.lines))
        return chunk

    monkeypatch.setattr(changes, "read_range", watched)
    monkeypatch.setattr(reading, "_WIDE_RANGE_BYTES", 50_000)
    scratch_source.run(
        "CREATE TABLE item (id int PRIMARY KEY, note text, data bytea);"
        "ALTER TABLE item ALTER note SET STORAGE EXTERNAL;"
        "INSERT INTO item SELECT i, repeat('x', 20000), decode(repeat('ab', 5000), 'hex')"
        " FROM generate_series(1, 25) i; INSERT INTO item VALUES (26, 'short')"
    )
    assert len(scratch_source.captured_lines()) == 26
    assert max(read) < 70_000
    assert scratch_source.lake_equals_source()


def test_a_value_longer_than_the_longest_line_is_replaced(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MAX_LINE_BYTES", 100_000)
    scratch_source.run(
        "CREATE TABLE item (id int PRIMARY KEY, a text, b text);"
        "ALTER TABLE item ALTER b SET STORAGE EXTERNAL;"
        "INSERT INTO item VALUES (1, 'fits', repeat('x', 90000)),"
        " (2, 'too long', repeat('x', 110000)),"
        r" (3, 'escaped', repeat(E'\x01', 30000)), (4, repeat('x', 60000), repeat('y', 70000))"
    )
    lines = by_id(scratch_source.captured_lines())
    assert lines[1]["b"] == "x" * 90000
    assert lines[2]["a"] == "too long"
    assert "a row may have at most 100000" in lines[2]["b"][UNREADABLE_FIELD]
    assert lines[3]["b"][UNREADABLE_FIELD].startswith("180002 bytes as JSON")
    assert lines[4]["a"] == "x" * 60000, "of a row too long as a whole, the longest value"
    assert unreadable_values(scratch_source) == {("2", "b"), ("3", "b"), ("4", "b")}


def test_a_temporary_error_replaces_no_value(
    scratch_source: ScratchSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row is not read again until it changes, so only a permanent error may replace a value."""
    read_range = changes.read_range

    def out_of_memory(*arguments: Any, **further: Any) -> Chunk:
        if not further.get("unreadable"):
            raise psycopg.errors.OutOfMemory("out of memory")
        return read_range(*arguments, **further)

    scratch_source.add_items()
    scratch_source.run("UPDATE item SET price = 0")
    with monkeypatch.context() as patch:
        patch.setattr(changes, "read_range", out_of_memory)
        patch.setattr(changes, "evaluate_for_row", out_of_memory)
        with pytest.raises(SourceError, match="be read: out of memory"):
            scratch_source.capture()
    assert len(scratch_source.changes()) == 3
    assert scratch_source.lake_equals_source()


# In the whole platform


@pytest.fixture
def raw_installation(
    server: EmbeddedServer,
    template: Source,  # noqa: ARG001  which makes the roles
    warehouse: EmptyWarehouse,
    database_names: Iterator[str],
    tmp_path: Path,
) -> Iterator[Installation]:
    """An installation whose totesys has encoding SQL_ASCII."""
    name = next(database_names)
    with encoded(server, name, "SQL_ASCII"):
        source = prepare_source(server.dsn, name)
        with psycopg.connect(source.owner.reveal()) as connection:
            connection.execute(totesys_sql())
        yield Installation(source.owner, source.reader, warehouse.dsn, tmp_path).add_orders(10)


def test_unreadable_values_are_reported_and_loaded_after_their_repair(
    raw_installation: Installation,
) -> None:
    installation = raw_installation
    installation.change("ALTER TABLE staff ADD photo text")
    installation.change(r"UPDATE staff SET photo = E'\377'")  # which no model reads
    installation.change(r"UPDATE design SET design_name = E'caf\351' WHERE design_id = 2")
    run = installation.totes("run", "--once")
    assert run.exit_code == 0
    staff, *_ = installation.query("SELECT count(*) FROM dim_staff")[0]
    assert f"Batch 1: rows with unreadable values: 1 of design, {staff} of staff." in run.stderr
    [row] = installation.query(
        "SELECT key, column_name, value, reason, row->>'file_name' FROM totes.quarantine"
        " WHERE star_table = 'dim_design'"
    )
    assert row[:3] == ("2", "design_name", r"\x636166e9")
    assert row[3].startswith("can't be read in the source: invalid byte sequence")
    assert row[4], "the readable values of the row are recorded"
    shown = installation.totes("quarantine", "show").stdout
    assert "design in the source" in shown
    assert "staff in the source" in installation.totes("quarantine", "list").stdout
    status = json.loads(installation.totes("status", "--json").stdout)
    assert status["unreadable"] == [
        {"table": "design", "values": 1},
        {"table": "staff", "values": staff},
    ]
    assert (
        f"staff of the source: {staff} values can't be read" in installation.totes("status").stdout
    )
    verdict = installation.totes("verify")
    assert verdict.exit_code == 0, verdict.output
    assert "dim_design: 1 in quarantine, not compared: 2\n" in verdict.stdout
    installation.change("UPDATE design SET design_name = 'repaired' WHERE design_id = 2")
    installation.change("UPDATE staff SET photo = NULL")
    for command in (["run", "--once"], ["replay"]):
        assert installation.totes(*command).exit_code == 0
        assert installation.query("SELECT design_name FROM dim_design WHERE design_id = 2") == [
            ("repaired",)
        ]
        assert "Quarantine is empty" in installation.totes("quarantine", "list").stdout
        assert installation.totes("verify").exit_code == 0


def test_rows_joined_with_an_unreadable_one_are_quarantined(
    raw_installation: Installation,
) -> None:
    raw_installation.run()
    [(department, staff)] = raw_installation.query(
        "SELECT department_name, count(*) FROM dim_staff GROUP BY 1 ORDER BY 2 DESC LIMIT 1"
    )
    raw_installation.change(
        rf"UPDATE department SET department_name = E'\351' WHERE department_name = '{department}'"
    )
    raw_installation.run()
    assert raw_installation.query(
        "SELECT count(*), min(column_name) FROM totes.quarantine WHERE star_table = 'dim_staff'"
    ) == [(staff, "department_name")]
    assert raw_installation.totes("verify").exit_code == 0
    assert "some are still rejected" in raw_installation.totes("quarantine", "release").stdout
    raw_installation.change(
        "UPDATE department SET department_name = convert_from(convert(convert_to("
        r"department_name, 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'SQL_ASCII') "
        r"WHERE department_name = E'\351'"
    )
    raw_installation.run()
    assert raw_installation.query("SELECT count(*) FROM dim_staff WHERE department_name = 'é'") == [
        (staff,)
    ]
    assert raw_installation.totes("verify").exit_code == 0


def test_check_warns_of_encoding_sql_ascii(
    installation: Installation, raw_source: ScratchSource
) -> None:
    said = installation.with_settings(
        source_dsn=raw_source.add_items().dsn.reveal(), source_schema="scratch"
    ).totes("check")
    assert "source encoding: SQL_ASCII" in said.stdout


def test_unreadable_bytes_are_erased_with_their_row(raw_installation: Installation) -> None:
    raw_installation.change(r"UPDATE staff SET first_name = E'Ada\351' WHERE staff_id IN (1, 2)")
    raw_installation.run()
    raw_installation.change("UPDATE staff SET first_name = 'former' WHERE staff_id = 1")
    raw_installation.run()
    into = raw_installation.folder / "erased"
    arguments = ["staff", "1", "--columns", "first_name", "--into", str(into)]
    assert raw_installation.totes("erase", *arguments).exit_code == 0
    store = FolderStore(into)
    staff = lake_reader.lines(store, lake_reader.batches(store)[0], "staff")
    names = {line["staff_id"]: line["first_name"] for line in staff}
    assert names[1] == "former"
    assert names[2]["hex"] == "416461e9"
    [first] = [table for table in lake_reader.batches(store)[0].tables if table.name == "staff"]
    assert first.unreadable
    assert first.unreadable.rows == 1
    assert [value.key for value in list_unreadable_values(store)] == ["2"]


def test_a_reason_that_quotes_a_long_value_is_truncated(installation: Installation) -> None:
    """PostgreSQL quotes the whole value, which would make the line too long."""
    installation.add_orders(3)
    installation.change(
        "ALTER TABLE design ADD note text, ADD size int GENERATED ALWAYS AS (note::int);"
        "UPDATE design SET note = repeat('x', 2000000) WHERE design_id = 2"
    )
    assert installation.totes("run", "--once").exit_code == 0
    [value] = list_unreadable_values(FolderStore(installation.ingestion))
    assert (value.table, value.key, value.column) == ("design", "2", "size")
    assert value.reason.startswith('invalid input syntax for type integer: "xxx')
    assert len(value.reason) < 1000
    assert installation.totes("verify").exit_code == 0


def test_lists_of_unreadable_values_are_not_orphaned(raw_installation: Installation) -> None:
    raw_installation.change(r"UPDATE design SET design_name = E'\351' WHERE design_id = 2")
    raw_installation.run()
    assert list(find_orphaned_files(FolderStore(raw_installation.ingestion))) == []
    [listed] = (raw_installation.ingestion / "unreadable" / "design").iterdir()
    orphan = listed.with_name("000000000001-00000000-0.parquet")
    shutil.copy(listed, orphan)
    assert [
        found.key for found in find_orphaned_files(FolderStore(raw_installation.ingestion))
    ] == [f"unreadable/design/{orphan.name}"]
