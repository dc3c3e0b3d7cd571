"""A value of every PostgreSQL type is captured as text that PostgreSQL reads as the same value."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import lake_reader
import psycopg
import pytest
from depth import seeded_random
from psycopg import errors, sql
from random_values import draw
from scratch_source import GRANTS, ScratchSource
from source_types import (
    EXCEPTIONS,
    MATRIX,
    OWN_TYPES,
    Value,
    is_nullable,
    send_function,
    types_of_columns,
)

from conftest import Totesys
from totes.config.dsn import Dsn
from totes.embedded.servers import EmbeddedServer, Source, prepare_source

TYPES = (*MATRIX, *(f"{name}[]" for name in MATRIX))

KEY_COLUMNS = 8
"""Number of key columns of a table, besides `n`."""

MAX_KEY_BYTES = 200
"""So that KEY_COLUMNS values fit into one index entry."""

OTHER_SETTINGS = {
    "bytea_output": "escape",
    "datestyle": "SQL, DMY",
    "extra_float_digits": "0",
    "intervalstyle": "sql_standard",
    "search_path": "pg_catalog",
    "timezone": "Asia/Kathmandu",
}
"""Session settings of a reader that differ from those of the capture."""

LITERALS: dict[str, type] = {
    **dict.fromkeys(("smallint", "integer", "scratch.tiny"), int),
    **dict.fromkeys(("boolean", "scratch.answer"), bool),
    "information_schema.cardinal_number": int,
}
"""The types whose values are JSON literals; values of other types are strings."""

NULL = sql.SQL("NULL")


def column_name(type_: str) -> str:
    """Return the name of a type's column; it is the same in every table."""
    return f"of {type_}"


def column(type_: str) -> sql.Identifier:
    return sql.Identifier(column_name(type_))


def type_sql(type_: str) -> sql.SQL:
    return sql.SQL(type_)


def comma_separated(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def cast(type_: str, value: Value) -> sql.Composable:
    return sql.SQL("CAST({} AS {})").format(value, type_sql(type_))


def arrays(type_: str, values: Sequence[sql.Composable], *, nullable: bool) -> list[sql.Composable]:
    """Return arrays: empty, of all values, with NULL, two-dimensional, with other lower bounds."""
    array = sql.SQL("{}")
    if type_ == "scratch.tagged":  # in ARRAY[…] its values would be dimensions, not elements
        values = [sql.SQL("CAST({} AS text)").format(value) for value in values]
        array = sql.SQL("CAST(CAST({} AS text) AS scratch.tagged[])")
    first, other = values[0], NULL if nullable else values[-1]
    expressions = [
        sql.SQL("ARRAY[{}]").format(comma_separated(values)),
        sql.SQL("ARRAY[{1}, {0}, {1}]").format(first, other),
        sql.SQL("ARRAY[[{0}, {1}], [{1}, {0}]]").format(first, other),
        sql.SQL("array_fill({}, ARRAY[2, 1, 2], ARRAY[-1, 0, 7])").format(first),
    ]
    return [sql.Literal("{}"), *map(array.format, expressions)]


def in_rows(columns: Sequence[Sequence[sql.Composable]]) -> list[tuple[sql.Composable, ...]]:
    """Return the values of several columns as rows; shorter columns are repeated."""
    longest = max(map(len, columns))
    return list(zip(*(islice(cycle(values), longest) for values in columns), strict=True))


@dataclass(frozen=True)
class TypedSource:
    """A source with a column of every type: in tables with and without a key, and in keys.

    `read_back` writes the lake's rows into tables of the same names in schema `lake`.
    """

    scratch_source: ScratchSource
    admin: Dsn
    keys: dict[str, list[str]] = field(default_factory=dict)
    """The types of the key columns by table."""

    def open(self) -> psycopg.Connection:
        options = [
            f"-c{name}={value.replace(' ', '\\ ')}" for name, value in OTHER_SETTINGS.items()
        ]
        return psycopg.connect(self.admin.reveal(), options=" ".join(options))

    def fill(self, values: dict[str, list[sql.Composable]]) -> None:
        """Create the tables and insert these values of each type."""
        columns = comma_separated(
            sql.SQL("{} {}").format(column(one), type_sql(one)) for one in TYPES
        )
        with self.open() as connection:
            connection.execute(
                sql.SQL("CREATE TABLE scratch.keyed (n int PRIMARY KEY, {})").format(columns)
            )
            for number, row in enumerate(in_rows([values[one] for one in TYPES])):
                connection.execute(
                    sql.SQL("INSERT INTO scratch.keyed VALUES ({}, {})").format(
                        number, comma_separated(row)
                    )
                )
            connection.execute("CREATE TABLE scratch.keyless AS SELECT * FROM scratch.keyed")
            self._fill_keys(connection)
            connection.execute(
                "GRANT SELECT ON ALL TABLES IN SCHEMA scratch TO totes_ingest;"
                "GRANT ALL ON ALL TABLES IN SCHEMA scratch TO totesys_app"
            )

    def _fill_keys(self, connection: psycopg.Connection) -> None:
        sorted_values = {one: found for one in TYPES if (found := _sorted_values(connection, one))}
        names = list(sorted_values)
        for start in range(0, len(names), KEY_COLUMNS):
            types = names[start : start + KEY_COLUMNS]
            table = f"keys {start}"
            self.keys[table] = types
            parts = {
                "table": sql.Identifier("scratch", table),
                "key": comma_separated(map(column, types)),
            }
            connection.execute(
                sql.SQL(
                    "CREATE TABLE {table} AS SELECT n, {key} FROM scratch.keyed WHERE false;"
                    "ALTER TABLE {table} ADD PRIMARY KEY ({key}, n)"
                ).format(**parts)
            )
            for number, row in enumerate(in_rows([sorted_values[type_] for type_ in types])):
                connection.execute(
                    sql.SQL("INSERT INTO {table} VALUES ({number}, {row})").format(
                        number=number, row=comma_separated(row), **parts
                    )
                )

    def read_back(self) -> None:
        """Insert the captured texts, which PostgreSQL converts with the types' input functions."""
        with self.open() as connection:
            for table in ("keyed", "keyless", *self.keys):
                parts = {
                    "from": sql.Identifier("scratch", table),
                    "to": sql.Identifier("lake", table),
                }
                connection.execute(
                    sql.SQL("CREATE TABLE {to} AS SELECT * FROM {from} WHERE false").format(**parts)
                )
                for line in lake_reader.current_lines(self.scratch_source.store, table):
                    names = list(line)[2:]
                    texts = (sql.Literal(lake_reader.printed(line[name])) for name in names)
                    connection.execute(
                        sql.SQL("INSERT INTO {to} ({columns}) VALUES ({values})").format(
                            columns=comma_separated(map(sql.Identifier, names)),
                            values=comma_separated(texts),
                            **parts,
                        )
                    )

    def find_differences(
        self, type_: str, table: str, where: str = "true"
    ) -> list[tuple[object, ...]]:
        """Return rows whose value differs between source and lake.

        Compared are the text, and the binary form and the operator `=` if the type has them.
        """
        parts = {
            "table": sql.Identifier(table),
            "c": column(type_),
            "where": sql.SQL(where),
        }
        text = sql.SQL("a.{c}::text IS DISTINCT FROM b.{c}::text")
        operator = sql.SQL("a.{c} IS DISTINCT FROM b.{c}")
        with self.open() as connection:
            comparisons = [operator]
            if send := send_function(connection, type_):
                binary = sql.SQL(f"{send}(a.{{c}}) IS DISTINCT FROM {send}(b.{{c}})")
                comparisons.append(binary)
            for tests in (comparisons, comparisons[1:], comparisons[:1], []):
                differs = sql.SQL(" OR ").join(one.format(**parts) for one in (text, *tests))
                query = sql.SQL(
                    "SELECT n, left(a.{c}::text, 99), left(b.{c}::text, 99)"
                    " FROM (SELECT * FROM scratch.{table} WHERE {where}) a"
                    " FULL JOIN lake.{table} b USING (n)"
                    " WHERE a.* IS NULL OR b.* IS NULL OR {differs}"
                ).format(differs=differs, **parts)
                try:
                    with connection.transaction():
                        return connection.execute(query).fetchall()
                except (errors.UndefinedFunction, errors.NumericValueOutOfRange):
                    # The type has no such operator, or it compares areas, which overflow.
                    continue
        raise AssertionError


def _sorted_values(connection: psycopg.Connection, type_: str) -> list[sql.Composable]:
    """Return the values that can be in a key; none if PostgreSQL can't sort the type."""
    query = sql.SQL(
        "SELECT min(n) FROM (SELECT n, {c} AS c, dense_rank() OVER (ORDER BY {c}) AS r"
        " FROM scratch.keyed) AS t WHERE c IS DISTINCT FROM NULL"
        " AND octet_length(c::text) <= {longest} GROUP BY r"
    ).format(c=column(type_), longest=MAX_KEY_BYTES)
    try:
        with connection.transaction():
            rows = connection.execute(query).fetchall()
    except errors.UndefinedFunction:
        return []
    value = sql.SQL("(SELECT {} FROM scratch.keyed WHERE n = {})")
    return [value.format(column(type_), number) for (number,) in rows]


@pytest.fixture(scope="module")
def create_typed_source(
    server: EmbeddedServer, template: Source, database_names: Iterator[str]
) -> Callable[[], Source]:
    """Return a function that creates a database with user-defined types."""

    def create() -> Source:
        name = next(database_names)
        source = prepare_source(server.dsn, name, str(template.owner.parts["dbname"]))
        with psycopg.connect(source.superuser.reveal(), autocommit=True) as connection:
            connection.execute(GRANTS.encode())
            connection.execute("GRANT USAGE ON SCHEMA scratch TO totesys_app; CREATE SCHEMA lake")
            connection.execute("SET search_path = scratch")
            for script in OWN_TYPES:
                connection.execute(script)
        return source

    return create


@pytest.fixture(scope="module")
def every_value(
    create_typed_source: Callable[[], Source], tmp_path_factory: pytest.TempPathFactory
) -> TypedSource:
    """A source with all values of the matrix, captured, also after deleting half of the keys."""
    source = create_typed_source()
    scratch_source = ScratchSource(source.owner, source.reader, tmp_path_factory.mktemp("values"))
    typed_source = TypedSource(scratch_source, source.superuser)
    values = {}
    with typed_source.open() as connection:
        for one, texts in MATRIX.items():
            nullable = is_nullable(connection, one)
            casts = [cast(one, text) for text in texts]
            values[one] = [*casts, NULL] if nullable else casts
            values[f"{one}[]"] = [*arrays(one, casts, nullable=nullable), NULL]
    typed_source.fill(values)
    scratch_source.capture()
    for table in typed_source.keys:
        scratch_source.run(f'DELETE FROM "{table}" WHERE n % 2 = 1')
    scratch_source.capture()
    typed_source.read_back()
    return typed_source


def test_the_matrix_has_every_type_that_a_column_can_have(every_value: TypedSource) -> None:
    with every_value.open() as connection:
        names = connection.execute(
            "SELECT format_type(name::regtype, NULL) FROM unnest(%s::text[]) AS name",
            [[*MATRIX, *EXCEPTIONS]],
        )
        assert types_of_columns(connection) == {name for (name,) in names}


@pytest.mark.parametrize("type_", EXCEPTIONS)
def test_types_that_are_not_in_the_matrix_have_no_values(
    every_value: TypedSource, type_: str
) -> None:
    with every_value.open() as connection, pytest.raises(errors.FeatureNotSupported):
        connection.execute(sql.SQL("SELECT {}").format(cast(type_, "")))


@pytest.mark.few(30)
@pytest.mark.parametrize("type_", MATRIX)
def test_values_of_every_type_are_captured_unchanged(every_value: TypedSource, type_: str) -> None:
    """Also arrays of them, and in a table without a key."""
    for one in (type_, f"{type_}[]"):
        assert every_value.find_differences(one, "keyed") == []
        assert every_value.find_differences(one, "keyless") == []


def test_only_integers_of_up_to_32_bits_and_booleans_are_json_literals(
    every_value: TypedSource,
) -> None:
    for line in lake_reader.current_lines(every_value.scratch_source.store, "keyed"):
        for type_ in TYPES:
            value = line[column_name(type_)]
            assert value is None or type(value) is LITERALS.get(type_, str), type_


def test_keys_of_every_sortable_type_are_captured_and_deleted(every_value: TypedSource) -> None:
    """The keys that the fixture deleted are not in the lake, so deletions have the same text."""
    sortable = {type_ for types in every_value.keys.values() for type_ in types}
    assert {
        "text",
        "numeric",
        "interval",
        "bytea",
        "scratch.mood",
        "scratch.pair",
        "jsonb[]",
    } <= sortable
    for table, types in every_value.keys.items():
        for type_ in types:
            assert every_value.find_differences(type_, table) == []


# Random values

ROWS = 24


def test_random_values_of_every_type_are_captured_unchanged(
    create_typed_source: Callable[[], Source], tmp_path: Path
) -> None:
    chance = seeded_random()
    source = create_typed_source()
    typed_source = TypedSource(
        ScratchSource(source.owner, source.reader, tmp_path), source.superuser
    )
    values = {}
    for one in MATRIX:
        casts = [cast(one, draw(chance, one)) for _ in range(ROWS)]
        groups = [casts[start : start + 4] for start in range(0, ROWS, 4)]
        values[one] = casts
        values[f"{one}[]"] = [chance.choice(arrays(one, group, nullable=False)) for group in groups]
    typed_source.fill(values)
    typed_source.scratch_source.capture()
    typed_source.read_back()
    differences = {
        one: found for one in TYPES if (found := typed_source.find_differences(one, "keyed"))
    }
    differences |= {
        f"{one} in a key": found
        for table, types in typed_source.keys.items()
        for one in types
        if (found := typed_source.find_differences(one, table))
    }
    assert differences == {}


# Casts, generated columns and keys

CAST_TO_TEXT = """
CREATE FUNCTION scratch.to_text(scratch.{0}) RETURNS text IMMUTABLE LANGUAGE sql
AS $$ SELECT 'wrong' $$;
CREATE CAST (scratch.{0} AS text) WITH FUNCTION scratch.to_text(scratch.{0})
"""


def test_a_user_defined_cast_to_text_is_not_used(
    scratch_source: ScratchSource, totesys: Totesys
) -> None:
    scratch_source.run(
        "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE pair AS (a mood, b text);"
        "CREATE TABLE item (id mood PRIMARY KEY, m mood, p pair, q pair NOT NULL, ms mood[]);"
        "INSERT INTO item VALUES ('sad', 'sad', '(,x)', '(,)', '{sad}'),"
        " ('happy', NULL, '(,)', '(,)', NULL)"
    )
    with psycopg.connect(totesys.admin.reveal()) as connection:
        for type_ in ("mood", "pair"):
            connection.execute(CAST_TO_TEXT.format(type_).encode())
    scratch_source.capture()
    assert scratch_source.lake_equals_source()
    scratch_source.run("DELETE FROM item WHERE id = 'sad'")
    assert scratch_source.changes() == {("delete", "sad")}


def test_generated_and_identity_columns_are_captured(scratch_source: ScratchSource) -> None:
    scratch_source.run(
        "CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " other bigint GENERATED BY DEFAULT AS IDENTITY, n numeric, t text,"
        " stored numeric GENERATED ALWAYS AS (n / 3) STORED,"
        " virtual text GENERATED ALWAYS AS (n || '\"' || t || E'\\n') VIRTUAL,"
        " sure int NOT NULL GENERATED ALWAYS AS (coalesce(length(t), 0)) VIRTUAL);"
        "INSERT INTO item (n, t) VALUES (1, 'a\\\"b'), ('NaN', NULL), (NULL, 'é')"
    )
    scratch_source.capture()
    assert scratch_source.lake_equals_source()
    scratch_source.run("UPDATE item SET n = 10 WHERE id = 3; DELETE FROM item WHERE id = 1")
    assert scratch_source.changes() == {("upsert", 3), ("delete", 1)}
    assert scratch_source.lake_equals_source()


def test_keys_of_ranges_without_overlaps_are_captured(scratch_source: ScratchSource) -> None:
    scratch_source.run(
        "CREATE TABLE item (id int4range, during tstzmultirange,"
        " PRIMARY KEY (id, during WITHOUT OVERLAPS));"
        "INSERT INTO item VALUES ('[1,2)', '{[2026-01-01,2026-02-01)}'),"
        " ('[1,2)', '{[2026-02-01,infinity]}'), ('[3,)', '{(,)}')"
    )
    scratch_source.capture()
    assert scratch_source.lake_equals_source()
    scratch_source.run("DELETE FROM item WHERE id = '[3,)'")
    assert [(line["_op"], line["during"]) for line in scratch_source.captured_lines()] == [
        ("delete", "{(,)}")
    ]


def test_equal_keys_with_different_text_are_a_delete_and_an_insert(
    scratch_source: ScratchSource,
) -> None:
    """In PostgreSQL 1.0 equals 1.00, so the lake must not have both."""
    scratch_source.run(
        "CREATE TABLE item (id numeric, d float8, v int, PRIMARY KEY (id, d));"
        "INSERT INTO item VALUES (1.0, 0, 1), (2.50, '-0', 2)"
    )
    scratch_source.capture()
    scratch_source.run("UPDATE item SET id = id::numeric(9, 4), d = -d")
    scratch_source.capture()
    assert scratch_source.lake_equals_source()
