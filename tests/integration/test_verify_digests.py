"""The digests of verify: the same on all servers for equal rows, and no others for other rows."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from itertools import permutations

import psycopg
import pytest
from psycopg import errors, sql

from totes.embedded.servers import EmbeddedServer
from totes.operations.verify import queries
from totes.source.session import connect
from totes.star.contract import TYPES, Column, StarTable

VALUES = {
    "boolean": "true false NULL",
    "integer": "0 1 -1 65536 2147483647 -2147483648 NULL",
    # hashint8 is equal for 0, -1 and 4294967297, and for 1 and 4294967296
    "bigint": "0 1 -1 4294967296 4294967297 9223372036854775807 -9223372036854775808 NULL",
    "date": "2024-02-28 2024-02-29 1900-01-01 2200-12-31 NULL",
    # time_hash is equal for the first two
    "time": "00:00 01:11:34.967297 12:30 12:30:00.001 12:30:00.000001 23:59:59.999999 24:00 NULL",
    # hash_numeric is equal for n and -n, and for all that are no finite number
    "numeric(10,2)": "0 1 -1 0.01 -0.01 12.5 1.25 10000 -10000 99999999.99 NaN NULL",
    "amount": "0 1 -1 0.1 10 1000000000000000000000 NaN Infinity -Infinity NULL",
    "text": "a A aa b é e\u0301 £ € NULL null 1 1.0 more-than-twelve-bytes more-than-twelve-bites",
}
"""Different values of each type, separated by spaces."""

HOSTILE_SETTINGS = {
    "timezone": "Asia/Kathmandu",
    "datestyle": "SQL, DMY",
    "client_encoding": "LATIN1",
    "bytea_output": "escape",
    "lc_numeric": "C",
    "extra_float_digits": "-15",
}


COLLATIONS = (
    'CREATE COLLATION public.ours FROM "C"',  # the embedded server has no ICU
    "CREATE COLLATION public.ours (provider=icu, locale='und-u-ks-level2', deterministic=false)",
)
"""The collation of texts in the embedded databases and in the older ones, where a = A."""


@pytest.fixture(scope="module")
def databases(
    server: EmbeddedServer, older: EmbeddedServer, database_names: Iterator[str]
) -> Iterator[list[psycopg.Connection]]:
    """Sessions as verify's, to PostgreSQL 18, and to 15 with UTF-8 and with LATIN1."""
    with ExitStack() as stack:
        opened = []
        for where, encoding in [(server, "UTF8"), (older, "UTF8"), (older, "LATIN1")]:
            name = next(database_names)
            with psycopg.connect(where.dsn.reveal(), autocommit=True) as admin:
                admin.execute(
                    f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}'"
                    " LOCALE_PROVIDER libc LOCALE 'C'".encode()
                )
                for setting, value in HOSTILE_SETTINGS.items():
                    admin.execute(f"ALTER DATABASE {name} SET {setting} = '{value}'".encode())
            dsn = where.dsn.replace(dbname=name)
            with psycopg.connect(dsn.reveal()) as admin:
                admin.execute(COLLATIONS[where is older])
            opened.append(stack.enter_context(connect(dsn)))
        yield opened


Row = tuple[int, *tuple[str, ...]]


def rows_of(kind: str, rows: Sequence[Row], *, as_text: bool = False) -> sql.Composable:
    """Return SQL for rows of a key and values of one type; `as_text`: text instead of that type."""
    collation = " COLLATE public.ours" if as_text or kind == "text" else ""
    cast = sql.SQL(f"::{'text' if as_text else TYPES[kind].postgres}{collation}")
    tuples = (
        [sql.Literal(key), *(sql.Literal(None if v == "NULL" else v) + cast for v in values)]
        for key, *values in rows
    )
    return sql.SQL("(VALUES {}) AS t ({})").format(
        sql.SQL(", ").join(sql.SQL("({})").format(sql.SQL(", ").join(row)) for row in tuples),
        sql.SQL(", ").join(sql.Identifier(column.name) for column in star_of(kind, rows).columns),
    )


def star_of(kind: str, rows: Sequence[Row]) -> StarTable:
    """Return a table with an integer key and columns of one type."""
    columns = (Column(f"c{number}", TYPES[kind]) for number in range(len(rows[0]) - 1))
    return StarTable("star", (Column("id", TYPES["integer"]), *columns), ("id",))


def types_of(connection: psycopg.Connection, rows: sql.Composable) -> list[int]:
    cursor = connection.execute(queries.select_no_rows(rows))
    return [column.type_code for column in cursor.description or ()]


def digest(
    connection: psycopg.Connection,
    kind: str,
    *rows: Row,
    as_text: bool = False,
    other_as_text: bool = False,
) -> object:
    """Return the count and the digest of rows, all in one bucket.

    `as_text`: whether the values are text on this side, and on the other.
    """
    here = rows_of(kind, rows, as_text=as_text)
    there = rows_of(kind, rows, as_text=other_as_text)
    sides = [types_of(connection, here), types_of(connection, there)]
    as_source, as_warehouse = (
        connection.execute(
            queries.select_digests(star_of(kind, rows), 1, here, queries.hash_digest(*types)),
            {"seed": 123456789012345678, "quarantined": []},
        ).fetchone()
        for types in (sides, reversed(sides))
    )
    assert as_source == as_warehouse
    return as_source


@pytest.mark.parametrize("kind", VALUES)
def test_equal_values_have_equal_digests_on_all_servers_and_others_have_not(
    databases: list[psycopg.Connection], kind: str
) -> None:
    values = VALUES[kind].split(" ")
    digests = {value: digest(databases[0], kind, (1, value)) for value in values}
    assert len({*digests.values()}) == len(values)
    for other in databases[1:]:
        compared = 0
        for value in values:
            with suppress(errors.UntranslatableCharacter):  # LATIN1 lacks some
                assert digest(other, kind, (1, value)) == digests[value], value
                compared += 1
        assert compared >= len(values) - 2


@pytest.mark.parametrize("kind", VALUES)
def test_values_are_compared_as_text_if_one_side_has_text(
    databases: list[psycopg.Connection], kind: str
) -> None:
    warehouse, source, _ = databases
    digests = set()
    for value in VALUES[kind].split(" "):
        [(text,)] = warehouse.execute(
            sql.SQL("SELECT {}::text FROM {}").format(
                sql.Identifier("c0"), rows_of(kind, [(1, value)])
            )
        ).fetchall()
        expected = digest(source, kind, (1, text or "NULL"), as_text=True)
        assert digest(warehouse, kind, (1, value), other_as_text=True) == expected
        digests.add(expected)
    assert len(digests) == len(VALUES[kind].split(" "))


@pytest.mark.parametrize("kind", VALUES)
def test_values_that_changed_places_and_copies_of_rows_change_the_digest(
    databases: list[psycopg.Connection], kind: str
) -> None:
    connection = databases[0]
    for a, b in permutations(VALUES[kind].split(" ")[:5], 2):
        two_rows = digest(connection, kind, (1, a), (2, b))
        assert two_rows == digest(connection, kind, (2, b), (1, a))
        assert two_rows != digest(connection, kind, (1, b), (2, a)), "exchanged by two rows"
        assert two_rows != digest(connection, kind, (1, a), (1, a))
        assert digest(connection, kind, (1, a), (1, a)) != digest(connection, kind, (1, b), (1, b))
        assert digest(connection, kind, (1, a, b)) != digest(connection, kind, (1, b, a))


def test_the_sample_has_the_same_hash_on_all_servers(
    databases: list[psycopg.Connection],
) -> None:
    for seed in (0, 1, 2**63 - 1):
        hashes = {
            database.execute(queries.HASHES_OF_A_SAMPLE, {"seed": seed}).fetchone()
            for database in databases
        }
        assert len(hashes) == 1
