"""The peers in `make bench PEERS=1`: other programs that copy tables between databases.

Each copies totesys to a database of its own on the warehouse's server, by `last_updated` and
primary key, as its documentation recommends for tables that change. That is one hop, into tables
like those of the source; totes makes two hops, through the lake, and keeps the history. The changes
of the bench leave `last_updated` as it was, as some changes in totesys do: a copy by `last_updated`
can find neither those nor deletes. Copies from PostgreSQL's log are not compared: they need more
than SELECT.

The programs are for Linux on x86-64. ingestr is older than version 1, and sling is installed from
the package of its platform, because ingestr 1 and the package `sling` download their program from
GitHub when they are first called.

Telemetry is off. Credentials are in environment variables, not in arguments.
"""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import quote

import psycopg

from measurement import CopyMeasurement, Measurement, measure_commands
from totes.config.dsn import Dsn
from totes.embedded.servers import Source, Warehouse

CHANGED_TABLES = ("sales_order", "purchase_order", "transaction", "payment")
"""The tables that the changes of the bench touch; the others have less than 200 rows."""

STAR = {
    "sales_order": "(SELECT *, sales_staff_id AS staff_id FROM current_sales_order)",
    "purchase_order": "current_purchase_order",
    "transaction": """(
        SELECT * FROM dim_transaction WHERE transaction_id::text NOT IN (
            SELECT key FROM totes.deleted_dimension_rows WHERE table_name = 'dim_transaction'
        )
    )""",
    "payment": "current_payment",
}
"""The same tables in the warehouse."""


@dataclass(frozen=True)
class Copy:
    """A peer's copy of totesys, in the database `target`; its programs and files are in folders."""

    peer: str
    environment: Path
    folder: Path
    tables: Sequence[str]
    source: Source
    target: Dsn

    def run(self, what: str) -> CopyMeasurement:
        """Copy what was not copied yet, measure it, and compare the copy with the source."""
        commands, variables = _PEERS[self.peer](self)
        measured = measure_commands(
            commands,
            {"PATH": os.environ["PATH"], **variables, "HOME": str(self.folder)},
            [self.source.owner, self.target],
            f"{self.peer} {self._version}: {what}",
        )
        relations = {table: f"public.{table}" for table in CHANGED_TABLES}
        return compare(measured, self.source.owner, self.target, relations)

    @property
    def packages(self) -> Path:
        """The folder of the installed packages."""
        [folder] = self.environment.glob("lib/python*/site-packages")
        return folder

    @property
    def _version(self) -> str:
        [package] = distributions(
            name=_PACKAGES.get(self.peer, self.peer), path=[str(self.packages)]
        )
        return package.version


def prepare(
    environment: Path, folder: Path, tables: Sequence[str], source: Source, warehouse: Warehouse
) -> list[Copy]:
    """Create an empty database for each peer; `environment` is their virtual environment."""
    copies = []
    for peer in _PEERS:
        with psycopg.connect(warehouse.superuser.reveal(), autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {peer} OWNER totes_loader")
        files = folder / peer
        files.mkdir()
        target = warehouse.loader.replace(dbname=peer)
        copies.append(Copy(peer, environment.absolute(), files, tables, source, target))
    return copies


def compare(
    measured: Measurement, source: Dsn, target: Dsn, relations: Mapping[str, str]
) -> CopyMeasurement:
    """Compare rows of totesys with a copy: relations there, by the name of the source's table.

    They are compared by digests of the columns that both have by name, as the source's types. The
    star has no created_at and last_updated, so these are compared for the peers only.
    """
    arrived = changes_missed = deletes_missed = 0
    with psycopg.connect(source.reveal()) as origin, psycopg.connect(target.reveal()) as copy:
        for table, relation in relations.items():
            digests = _digests(origin, copy, table, relation)
            copy.execute("CREATE TEMP TABLE origin (key bigint, digest bigint) ON COMMIT DROP")
            with (
                origin.cursor().copy(f"COPY ({digests} {table} c) TO STDOUT") as rows,
                copy.cursor().copy("COPY origin FROM STDIN") as into,
            ):
                for data in rows:
                    into.write(data)
            [(equal, changes, deletes)] = copy.execute(
                _COMPARISON.format(f"{digests} {relation} c")
            ).fetchall()
            arrived += equal
            changes_missed += changes
            deletes_missed += deletes
            copy.commit()
    return CopyMeasurement(
        **vars(measured),
        arrived=arrived,
        changes_missed=changes_missed,
        deletes_missed=deletes_missed,
    )


_COMPARISON = """
SELECT
    count(*) FILTER (WHERE origin.digest = copy.digest),
    count(*) FILTER (WHERE origin.key IS NOT NULL AND origin.digest IS DISTINCT FROM copy.digest),
    count(*) FILTER (WHERE origin.key IS NULL)
FROM origin FULL JOIN ({}) copy ON copy.key = origin.key
"""


def column_types(origin: psycopg.Connection, table: str) -> list[tuple[str, str]]:
    """Return the names and types of a table's columns, text for enums."""
    return origin.execute(
        "SELECT attname, CASE WHEN typtype = 'e' THEN 'text' ELSE format_type(atttypid, atttypmod)"
        " END FROM pg_attribute JOIN pg_type t ON t.oid = atttypid"
        " WHERE attrelid = %s::regclass AND attnum > 0 ORDER BY attnum",
        [table],
    ).fetchall()


def _digests(
    origin: psycopg.Connection, copy: psycopg.Connection, table: str, relation: str
) -> str:
    """Return SELECT … FROM, which computes each row's key and digest, on either side."""
    columns = column_types(origin, table)
    names = {
        one.name for one in copy.execute(f"SELECT * FROM {relation} c LIMIT 0").description or ()
    }
    values = ", ".join(f"{name}::{kind}" for name, kind in columns if name in names)
    return (
        f"SELECT {table}_id::bigint AS key, hashtextextended(ROW({values})::text, 0) AS digest FROM"
    )


type _Commands = tuple[list[list[str]], Mapping[str, str]]


def _ingestr(copy: Copy) -> _Commands:
    """A command for each table. The later ones read rows from the latest `last_updated` on."""
    commands = []
    for table in copy.tables:
        command = [str(copy.environment / "bin/ingestr"), "ingest", "--yes", "--progress=log"]
        command += [f"--source-table=public.{table}", f"--dest-table=public.{table}"]
        command += ["--incremental-strategy=merge", f"--primary-key={table}_id"]
        command += ["--incremental-key=last_updated"]
        if latest := _latest(copy.target, table):
            command += [f"--interval-start={latest}"]
        commands.append(command)
    variables = {
        "SOURCE_URI": _url(copy.source.reader),
        "DESTINATION_URI": _url(copy.target),
        "INGESTR_DISABLE_TELEMETRY": "true",
    }
    return commands, variables


def _latest(target: Dsn, table: str) -> str | None:
    with psycopg.connect(target.reveal()) as connection:
        if connection.execute("SELECT to_regclass(%s)", [table]).fetchone() == (None,):
            return None
        [(latest,)] = connection.execute(f"SELECT max(last_updated) FROM {table}").fetchall()
        return str(latest)


def _dlt(copy: Copy) -> _Commands:
    program = Path(__file__).with_name("peers_dlt.py")
    command = [str(copy.environment / "bin/python"), str(program), *copy.tables]
    # dlt demands a host before the path, and a password, which the server ignores.
    parts = {name: quote(str(value), safe="") for name, value in copy.target.parts.items()}
    target = "postgresql://{user}:none@{host}:{port}/{dbname}".format_map(parts)
    variables = {
        "SOURCES__SQL_DATABASE__CREDENTIALS": _url(copy.source.reader, "postgresql+psycopg2"),
        "DESTINATION__POSTGRES__CREDENTIALS": target,
        "DLT_DATA_DIR": str(copy.folder),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
    }
    return [command], variables


def _sling(copy: Copy) -> _Commands:
    replication = {
        "source": "TOTESYS",
        "target": "COPY",
        "defaults": {
            "mode": "incremental",
            "update_key": "last_updated",
            "object": "public.{stream_table}",
        },
        "streams": {f"public.{table}": {"primary_key": [f"{table}_id"]} for table in copy.tables},
    }
    file = copy.folder / "replication.json"
    file.write_text(json.dumps(replication))
    program = copy.packages / "sling_linux_amd64/bin/sling-linux-amd64"
    variables = {
        "TOTESYS": _url(copy.source.reader),
        "COPY": _url(copy.target),
        "SLING_DISABLE_TELEMETRY": "true",
    }
    return [[str(program), "run", "--replication", str(file)]], variables


_PEERS: Mapping[str, Callable[[Copy], _Commands]] = {
    "ingestr": _ingestr,
    "dlt": _dlt,
    "sling": _sling,
}
"""The commands of each peer, with their environment variables."""

_PACKAGES = {"sling": "sling-linux-amd64"}
"""Packages that are not named like the peer."""


def _url(dsn: Dsn, scheme: str = "postgresql") -> str:
    """Return a DSN as a URL with the socket's folder as parameter."""
    parts = {name: quote(str(value), safe="") for name, value in dsn.parts.items()}
    path = "{user}@/{dbname}?host={host}&port={port}&sslmode=disable".format_map(parts)
    return f"{scheme}://{path}"
