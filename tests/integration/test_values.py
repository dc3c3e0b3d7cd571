"""A value of any type PostgreSQL has is carried so that PostgreSQL reads back the same value."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import lake_reader
import psycopg
import pytest
from psycopg import errors, sql
from random_values import draw
from scratch_source import GRANTS, ScratchSource, seeded
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
from totes.config.settings import Dsn
from totes.embedded.servers import EmbeddedServer, Source, prepare_source

TYPES = (*MATRIX, *(f"{name}[]" for name in MATRIX))

KEY_COLUMNS = 8
"""How many a table has, beside a number."""

LONGEST_KEY = 200
"""Bytes; so that as many columns fit into one entry of an index."""

FOREIGN = {
    "bytea_output": "escape",
    "datestyle": "SQL, DMY",
    "extra_float_digits": "0",
    "intervalstyle": "sql_standard",
    "search_path": "pg_catalog",
    "timezone": "Asia/Kathmandu",
}
"""Settings of a reader who knows nothing of the platform's."""

LITERALS: dict[str, type] = {
    **dict.fromkeys(("smallint", "integer", "shop.tiny"), int),
    **dict.fromkeys(("boolean", "shop.answer"), bool),
    "information_schema.cardinal_number": int,
}
"""The types whose values are literals in JSON; all others' are strings."""

NULL = sql.SQL("NULL")


def name_of(type_: str) -> str:
    """What a type's column is called, in every table."""
    return f"of {type_}"


def column(type_: str) -> sql.Identifier:
    return sql.Identifier(name_of(type_))


def kind(type_: str) -> sql.SQL:
    return sql.SQL(type_)


def listed(parts: Iterable[sql.Composable]) -> sql.Composed:
    return sql.SQL(", ").join(parts)


def cast(type_: str, value: Value) -> sql.Composable:
    return sql.SQL("CAST({} AS {})").format(value, kind(type_))


def arrays(type_: str, values: Sequence[sql.Composable], *, nullable: bool) -> list[sql.Composable]:
    """Of all the values, empty, with NULL, of two dimensions, with other lower bounds."""
    array = sql.SQL("{}")
    if type_ == "shop.tagged":  # to ARRAY[] an array makes a dimension, not an element
        values = [sql.SQL("CAST({} AS text)").format(value) for value in values]
        array = sql.SQL("CAST(CAST({} AS text) AS shop.tagged[])")
    first, other = values[0], NULL if nullable else values[-1]
    made = [
        sql.SQL("ARRAY[{}]").format(listed(values)),
        sql.SQL("ARRAY[{1}, {0}, {1}]").format(first, other),
        sql.SQL("ARRAY[[{0}, {1}], [{1}, {0}]]").format(first, other),
        sql.SQL("array_fill({}, ARRAY[2, 1, 2], ARRAY[-1, 0, 7])").format(first),
    ]
    return [sql.Literal("{}"), *map(array.format, made)]


def in_rows(columns: Sequence[Sequence[sql.Composable]]) -> list[tuple[sql.Composable, ...]]:
    """The values of several columns as rows, over and over where a column has fewer."""
    longest = max(map(len, columns))
    return list(zip(*(islice(cycle(values), longest) for values in columns), strict=True))


@dataclass(frozen=True)
class World:
    """A source with a column of every type: in tables with a key, without one, and in keys.

    `read_back` makes what the lake says of a table a table of the same name in schema `lake`.
    """

    scratch_source: ScratchSource
    admin: Dsn
    keys: dict[str, list[str]] = field(default_factory=dict)
    """The tables of keys, and the types each has in its key."""

    def open(self) -> psycopg.Connection:
        options = [f"-c{name}={value.replace(' ', '\\ ')}" for name, value in FOREIGN.items()]
        return psycopg.connect(self.admin.reveal(), options=" ".join(options))

    def fill(self, values: dict[str, list[sql.Composable]]) -> None:
        """Make the tables, with these values of each type."""
        columns = listed(sql.SQL("{} {}").format(column(one), kind(one)) for one in TYPES)
        with self.open() as connection:
            connection.execute(
                sql.SQL("CREATE TABLE shop.keyed (n int PRIMARY KEY, {})").format(columns)
            )
            for number, row in enumerate(in_rows([values[one] for one in TYPES])):
                connection.execute(
                    sql.SQL("INSERT INTO shop.keyed VALUES ({}, {})").format(number, listed(row))
                )
            connection.execute("CREATE TABLE shop.keyless AS SELECT * FROM shop.keyed")
            self._fill_keys(connection)
            connection.execute(
                "GRANT SELECT ON ALL TABLES IN SCHEMA shop TO totes_ingest;"
                "GRANT ALL ON ALL TABLES IN SCHEMA shop TO totesys_app"
            )

    def _fill_keys(self, connection: psycopg.Connection) -> None:
        able = {one: found for one in TYPES if (found := _sorted_values(connection, one))}
        names = list(able)
        for start in range(0, len(names), KEY_COLUMNS):
            here = names[start : start + KEY_COLUMNS]
            table = f"keys {start}"
            self.keys[table] = here
            parts = {"table": sql.Identifier("shop", table), "key": listed(map(column, here))}
            connection.execute(
                sql.SQL(
                    "CREATE TABLE {table} AS SELECT n, {key} FROM shop.keyed WHERE false;"
                    "ALTER TABLE {table} ADD PRIMARY KEY ({key}, n)"
                ).format(**parts)
            )
            for number, row in enumerate(in_rows([able[one] for one in here])):
                connection.execute(
                    sql.SQL("INSERT INTO {table} VALUES ({number}, {row})").format(
                        number=number, row=listed(row), **parts
                    )
                )

    def read_back(self) -> None:
        """Every text goes through its type's input function."""
        with self.open() as connection:
            for table in ("keyed", "keyless", *self.keys):
                parts = {"from": sql.Identifier("shop", table), "to": sql.Identifier("lake", table)}
                connection.execute(
                    sql.SQL("CREATE TABLE {to} AS SELECT * FROM {from} WHERE false").format(**parts)
                )
                for line in lake_reader.current_lines(self.scratch_source.store, table):
                    names = list(line)[2:]
                    texts = (sql.Literal(lake_reader.printed(line[name])) for name in names)
                    connection.execute(
                        sql.SQL("INSERT INTO {to} ({columns}) VALUES ({values})").format(
                            columns=listed(map(sql.Identifier, names)),
                            values=listed(texts),
                            **parts,
                        )
                    )

    def differing(self, type_: str, table: str, where: str = "true") -> list[tuple[object, ...]]:
        """Rows whose value of a type is not what the lake says, by all that PostgreSQL compares.

        That is the text, and the binary form and the operator `=` where the type has them.
        """
        parts = {
            "table": sql.Identifier(table),
            "c": column(type_),
            "where": sql.SQL(where),
        }
        text = sql.SQL("a.{c}::text IS DISTINCT FROM b.{c}::text")
        operator = sql.SQL("a.{c} IS DISTINCT FROM b.{c}")
        with self.open() as connection:
            further = [operator]
            if send := send_function(connection, type_):
                binary = sql.SQL(f"{send}(a.{{c}}) IS DISTINCT FROM {send}(b.{{c}})")
                further.append(binary)
            for tests in (further, further[1:], further[:1], []):
                differs = sql.SQL(" OR ").join(one.format(**parts) for one in (text, *tests))
                query = sql.SQL(
                    "SELECT n, left(a.{c}::text, 99), left(b.{c}::text, 99)"
                    " FROM (SELECT * FROM shop.{table} WHERE {where}) a"
                    " FULL JOIN lake.{table} b USING (n)"
                    " WHERE a.* IS NULL OR b.* IS NULL OR {differs}"
                ).format(differs=differs, **parts)
                try:
                    with connection.transaction():
                        return connection.execute(query).fetchall()
                except (errors.UndefinedFunction, errors.NumericValueOutOfRange):
                    # The type has no such comparison, or one of areas, which overflow.
                    continue
        raise AssertionError


def _sorted_values(connection: psycopg.Connection, type_: str) -> list[sql.Composable]:
    """What could be in a key: none where PostgreSQL can't sort the type."""
    query = sql.SQL(
        "SELECT min(n) FROM (SELECT n, {c} AS c, dense_rank() OVER (ORDER BY {c}) AS r"
        " FROM shop.keyed) AS t WHERE c IS DISTINCT FROM NULL"
        " AND octet_length(c::text) <= {longest} GROUP BY r"
    ).format(c=column(type_), longest=LONGEST_KEY)
    try:
        with connection.transaction():
            rows = connection.execute(query).fetchall()
    except errors.UndefinedFunction:
        return []
    found = sql.SQL("(SELECT {} FROM shop.keyed WHERE n = {})")
    return [found.format(column(type_), number) for (number,) in rows]


@pytest.fixture(scope="module")
def typed(
    server: EmbeddedServer, template: Source, database_names: Iterator[str]
) -> Callable[[], Source]:
    """Makes a database with types of its own."""

    def make() -> Source:
        name = next(database_names)
        source = prepare_source(server.dsn, name, str(template.owner.parts["dbname"]))
        with psycopg.connect(source.superuser.reveal(), autocommit=True) as connection:
            connection.execute(GRANTS.encode())
            connection.execute("GRANT USAGE ON SCHEMA shop TO totesys_app; CREATE SCHEMA lake")
            connection.execute("SET search_path = shop")
            for script in OWN_TYPES:
                connection.execute(script)
        return source

    return make


@pytest.fixture(scope="module")
def every_value(typed: Callable[[], Source], tmp_path_factory: pytest.TempPathFactory) -> World:
    """All values of the matrix, captured; then half the keys are deleted, and captured again."""
    source = typed()
    scratch_source = ScratchSource(source.owner, source.reader, tmp_path_factory.mktemp("values"))
    world = World(scratch_source, source.superuser)
    values = {}
    with world.open() as connection:
        for one, texts in MATRIX.items():
            nullable = is_nullable(connection, one)
            made = [cast(one, text) for text in texts]
            values[one] = [*made, NULL] if nullable else made
            values[f"{one}[]"] = [*arrays(one, made, nullable=nullable), NULL]
    world.fill(values)
    scratch_source.capture()
    for table in world.keys:
        scratch_source.run(f'DELETE FROM "{table}" WHERE n % 2 = 1')
    scratch_source.capture()
    world.read_back()
    return world


def test_the_matrix_has_every_type_that_a_column_may_have(every_value: World) -> None:
    with every_value.open() as connection:
        names = connection.execute(
            "SELECT format_type(name::regtype, NULL) FROM unnest(%s::text[]) AS name",
            [[*MATRIX, *EXCEPTIONS]],
        )
        assert types_of_columns(connection) == {name for (name,) in names}


@pytest.mark.parametrize("type_", EXCEPTIONS)
def test_the_exceptions_take_no_value(every_value: World, type_: str) -> None:
    with every_value.open() as connection, pytest.raises(errors.FeatureNotSupported):
        connection.execute(sql.SQL("SELECT {}").format(cast(type_, "")))


@pytest.mark.parametrize("type_", MATRIX)
def test_values_of_every_type_come_back_as_they_were(every_value: World, type_: str) -> None:
    """Also arrays of them, and from a table without a key."""
    for one in (type_, f"{type_}[]"):
        assert every_value.differing(one, "keyed") == []
        assert every_value.differing(one, "keyless") == []


def test_only_small_integers_and_booleans_are_no_strings(every_value: World) -> None:
    for line in lake_reader.current_lines(every_value.scratch_source.store, "keyed"):
        for type_ in TYPES:
            value = line[name_of(type_)]
            assert value is None or type(value) is LITERALS.get(type_, str), type_


def test_keys_of_every_type_that_sorts_come_back_also_when_deleted(every_value: World) -> None:
    """What the fixture deleted is gone from the lake, so deletions name the keys as inserts do."""
    sorting = {type_ for types in every_value.keys.values() for type_ in types}
    assert {"text", "numeric", "interval", "bytea", "shop.mood", "shop.pair", "jsonb[]"} <= sorting
    for table, types in every_value.keys.items():
        for type_ in types:
            assert every_value.differing(type_, table) == []


# Values drawn at random

ROWS = 24


def test_random_values_of_every_type_come_back_as_they_were(
    typed: Callable[[], Source], tmp_path: Path
) -> None:
    chance = seeded()
    source = typed()
    world = World(ScratchSource(source.owner, source.reader, tmp_path), source.superuser)
    values = {}
    for one in MATRIX:
        made = [cast(one, draw(chance, one)) for _ in range(ROWS)]
        some = [made[start : start + 4] for start in range(0, ROWS, 4)]
        values[one] = made
        values[f"{one}[]"] = [chance.choice(arrays(one, few, nullable=False)) for few in some]
    world.fill(values)
    world.scratch_source.capture()
    world.read_back()
    differing = {one: found for one in TYPES if (found := world.differing(one, "keyed"))}
    differing |= {
        f"{one} in a key": found
        for table, types in world.keys.items()
        for one in types
        if (found := world.differing(one, table))
    }
    assert differing == {}


# What else decides how a value prints

LOUD = """
CREATE FUNCTION shop.loud(shop.{0}) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT 'LOUD' $$;
CREATE CAST (shop.{0} AS text) WITH FUNCTION shop.loud(shop.{0})
"""


def test_a_cast_to_text_of_the_sources_own_changes_nothing(
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
            connection.execute(LOUD.format(type_).encode())
    scratch_source.capture()
    assert scratch_source.is_carried_whole()
    scratch_source.run("DELETE FROM item WHERE id = 'sad'")
    assert scratch_source.changes() == {("delete", "sad")}


def test_generated_and_identity_columns_are_carried(scratch_source: ScratchSource) -> None:
    scratch_source.run(
        "CREATE TABLE item (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
        " other bigint GENERATED BY DEFAULT AS IDENTITY, n numeric, t text,"
        " stored numeric GENERATED ALWAYS AS (n / 3) STORED,"
        " virtual text GENERATED ALWAYS AS (n || '\"' || t || E'\\n') VIRTUAL,"
        " sure int NOT NULL GENERATED ALWAYS AS (coalesce(length(t), 0)) VIRTUAL);"
        "INSERT INTO item (n, t) VALUES (1, 'a\\\"b'), ('NaN', NULL), (NULL, 'é')"
    )
    scratch_source.capture()
    assert scratch_source.is_carried_whole()
    scratch_source.run("UPDATE item SET n = 10 WHERE id = 3; DELETE FROM item WHERE id = 1")
    assert scratch_source.changes() == {("upsert", 3), ("delete", 1)}
    assert scratch_source.is_carried_whole()


def test_keys_of_ranges_without_overlaps_are_carried(scratch_source: ScratchSource) -> None:
    scratch_source.run(
        "CREATE TABLE item (id int4range, during tstzmultirange,"
        " PRIMARY KEY (id, during WITHOUT OVERLAPS));"
        "INSERT INTO item VALUES ('[1,2)', '{[2026-01-01,2026-02-01)}'),"
        " ('[1,2)', '{[2026-02-01,infinity]}'), ('[3,)', '{(,)}')"
    )
    scratch_source.capture()
    assert scratch_source.is_carried_whole()
    scratch_source.run("DELETE FROM item WHERE id = '[3,)'")
    assert [(line["_op"], line["during"]) for line in scratch_source.carried()] == [
        ("delete", "{(,)}")
    ]


def test_equal_keys_of_another_spelling_are_a_delete_and_an_insert(
    scratch_source: ScratchSource,
) -> None:
    """PostgreSQL calls 1.0 and 1.00 equal, and so the lake must not hold both."""
    scratch_source.run(
        "CREATE TABLE item (id numeric, d float8, v int, PRIMARY KEY (id, d));"
        "INSERT INTO item VALUES (1.0, 0, 1), (2.50, '-0', 2)"
    )
    scratch_source.capture()
    scratch_source.run("UPDATE item SET id = id::numeric(9, 4), d = -d")
    scratch_source.capture()
    assert scratch_source.is_carried_whole()
