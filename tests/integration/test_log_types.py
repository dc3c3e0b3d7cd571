"""The log's text of every value is that of a scan, byte for byte, whatever others have set."""

import gzip
import json
from collections.abc import Iterator

import psycopg
import pytest
from depth import sample
from log_source import LogSource, entry
from psycopg import errors, sql
from source_types import MATRIX, OWN_TYPES, Value

from totes.lake.manifest import Manifest

HOSTILE_SETTINGS = {
    "bytea_output": "escape",
    "datestyle": "SQL, DMY",
    "extra_float_digits": "-5",
    "intervalstyle": "sql_standard",
    "lc_monetary": "C",
    "timezone": "Asia/Kathmandu",
    "search_path": "scratch",
    "xmlbinary": "hex",
}
"""Settings of the database and of the platform's role, which must not change a value's text."""

KEYS = {
    "two columns": ("a int, b text, PRIMARY KEY (b, a)", "1, 'x'", "a = 2"),
    "bigint": ("id bigint PRIMARY KEY", "9223372036854775807", "id = -1"),
    "boolean": ("id boolean PRIMARY KEY", "true", "id = false"),
    "numeric": ("id numeric PRIMARY KEY", "1.0", "id = 1.00"),
    "numbers": ("id numeric(9, 3), f float8, PRIMARY KEY (id, f)", "1, '-0'", "f = 0"),
    "char": ("id char(5) PRIMARY KEY", "'ab'", "id = 'a'"),
    "varchar": ("id varchar(5) PRIMARY KEY", "'ab '", "id = 'ab'"),
    "escaped": ("id text PRIMARY KEY", "E'\"q\"\\\\ \\n\\t\\x01 é 🎉 \\x7f'", "id = E'\\\\\"'"),
    "date": ("id date PRIMARY KEY", "'2024-02-29'", "id = '0044-03-15 BC'"),
    "moment": ("id timestamptz PRIMARY KEY", "'2024-02-29 00:00+05:45'", "id = 'infinity'"),
    "bytes": ("id bytea PRIMARY KEY", "'\\x005c22'", "id = '\\x'"),
    "enum": ("id mood PRIMARY KEY", "'say \"hi\"'", "id = 'bäck\\slash'"),
    "composite": ("id pair PRIMARY KEY", '\'(" a","{1.0,NaN}")\'', "id = '(,)'"),
    "domain": ("id tiny PRIMARY KEY", "-32768", "id = 7"),
}
"""By kind: the columns, the values of a row, and how an update changes them."""

NAMES = (
    *("select", 'quoted "name"', "back\\slash", "it's", "UPPER", "upper", "dot.ted", "spa ce"),
    *("é", "東京🎉", "e\u0301", "tab\tand\nline", "%s {0} $1", "x" * 63, "_at", "k0", "json"),
)


def lines_by_id(source: LogSource, batch: Manifest, table: str) -> dict[int, bytes]:
    """Return each line of a table from the column `id` on, as bytes."""
    found = {}
    for file in entry(batch, table).files:
        for line in gzip.decompress(source.store.get(file.path)).splitlines():
            start = line.index(b'"id":')
            found[int(json.loads(line)["id"])] = line[start:]
    return found


@pytest.fixture
def typed(any_log_source: LogSource) -> Iterator[LogSource]:
    """A source with user-defined types."""
    any_log_source.administer(*OWN_TYPES)
    yield any_log_source
    # The role is the same in all databases of the server.
    any_log_source.administer(f"ALTER ROLE {any_log_source.dsn.parts['user']} RESET ALL")


def set_hostile_settings(source: LogSource) -> None:
    names = (
        ("DATABASE", source.admin.parts["dbname"]),
        ("ROLE", source.dsn.parts["user"]),
    )
    for kind, name in names:
        for setting, value in HOSTILE_SETTINGS.items():
            if kind == "DATABASE" or setting != "search_path":
                source.administer(f"ALTER {kind} {name} SET {setting} = '{value}'")


@pytest.mark.few(1)
def test_values_of_every_type_are_the_same_in_the_log_and_in_a_scan(typed: LogSource) -> None:
    tables = {}
    with typed.open() as connection:
        connection.autocommit = True
        for number, type_ in enumerate(sample(len(MATRIX) // 4, MATRIX, "types of the log")):
            for is_array in (False, True):
                table = f"t{number}{'a' * is_array}"
                made = sql.SQL("CREATE TABLE {} (id int PRIMARY KEY, v {}{})").format(
                    sql.Identifier(table), sql.SQL(type_), sql.SQL("[]" if is_array else "")
                )
                try:
                    connection.execute(made)
                except errors.UndefinedObject:
                    continue  # the older server does not have the type
                tables[table] = type_
    typed.publish(*tables)
    typed.read_batch()
    values = 0
    with typed.open() as connection:
        for table, type_ in tables.items():
            for number, value in enumerate(MATRIX[type_]):
                values += insert(connection, table, type_, number, value)
    set_hostile_settings(typed)
    from_log = typed.read_batch()
    typed.reader.close()
    typed.administer(*(f"UPDATE {table} SET id = id" for table in tables))
    from_scan = typed.capture()
    assert from_scan is not None
    compared = 0
    for table, type_ in tables.items():
        assert entry(from_log, table).of_log
        assert not entry(from_scan, table).of_log
        log, scan = (lines_by_id(typed, batch, table) for batch in (from_log, from_scan))
        assert log == scan, type_
        compared += len(log)
    assert compared == values > 0


def insert(
    connection: psycopg.Connection, table: str, type_: str, number: int, value: Value
) -> bool:
    """Insert a value; return whether the server accepts it."""
    cast = sql.SQL("CAST({} AS {})").format(value, sql.SQL(type_))
    if table.endswith("a"):
        cast = sql.SQL("ARRAY[{}, NULL]" if number % 2 else "ARRAY[{}]").format(cast)
    try:
        with connection.transaction():
            connection.execute(
                sql.SQL("INSERT INTO {} VALUES ({}, {})").format(
                    sql.Identifier(table), number, cast
                )
            )
    except (
        errors.DataError,
        errors.NotNullViolation,
        errors.IntegrityError,
        errors.ProgrammingError,
    ):
        return False  # of the older server, or the domain accepts no NULL
    return True


@pytest.mark.few(4)
@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_kind_are_inserted_changed_and_deleted(typed: LogSource, kind: str) -> None:
    columns, values, change = KEYS[kind]
    typed.run(f"CREATE TABLE item ({columns}); INSERT INTO item VALUES ({values})")
    typed.publish("item")
    typed.read_batch()
    for script in (
        f"UPDATE item SET {change}",
        f"DELETE FROM item; INSERT INTO item VALUES ({values})",
        "DELETE FROM item",
        f"INSERT INTO item VALUES ({values}); TRUNCATE item; INSERT INTO item VALUES ({values})",
        "TRUNCATE item",
    ):
        typed.run(script)
        assert typed.lines_in_log()
        typed.check_lake()
    typed.run(f"INSERT INTO item VALUES ({values})")
    typed.capture()
    typed.run("DELETE FROM item")
    assert [line["_op"] for line in typed.lines_in_log()] == ["delete"]
    typed.check_lake()


@pytest.mark.few(1)
def test_names_of_any_characters_are_the_same_in_the_log_and_in_a_scan(
    any_log_source: LogSource,
) -> None:
    source = any_log_source
    names = [name for name in NAMES if name != "_at"]
    identifiers = [sql.Identifier(name) for name in names]
    columns = sql.SQL(", ").join(sql.SQL("{} text").format(one) for one in identifiers)
    with source.open() as connection:
        for name in names:
            connection.execute(
                sql.SQL("CREATE TABLE {} ({}, id int, PRIMARY KEY ({}, id))").format(
                    sql.Identifier(name), columns, sql.SQL(", ").join(identifiers[:6])
                )
            )
    source.publish(*names)
    source.read_batch()
    values = sql.SQL(", ").join(map(sql.Literal, names))
    for statement in ("INSERT INTO {} VALUES ({}, 1)", "UPDATE {} SET id = 2", "DELETE FROM {}"):
        with source.open() as connection:
            for name in names:
                connection.execute(sql.SQL(statement).format(sql.Identifier(name), values))
        from_log = source.read_batch()
        assert all(entry(from_log, name).of_log for name in names)
        source.check_lake(*names)
        source.check_scan_finds_nothing()
