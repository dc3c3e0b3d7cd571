"""The rows of `bulk`, made once in each process and then copied.

Many tests begin with the same few orders. Copying them takes half the time of `bulk`, which
drops and adds constraints.
"""

from datetime import date

from psycopg import sql

from totes.config.dsn import Dsn
from totes.demo.simulator import bulk
from totes.demo.simulator.filling import connect

TABLES = (
    "address",
    "currency",
    "department",
    "design",
    "payment_type",
    "counterparty",
    "staff",
    "sales_order",
    "purchase_order",
    "transaction",
    "payment",
)
"""In an order in which no row refers to a later one."""

type Rows = tuple[dict[str, bytes], dict[str, tuple[int, bool]]]
"""The rows of each table in PostgreSQL's binary format, and the state of each sequence."""

_made: dict[tuple[int, date], Rows] = {}


def fill(dsn: Dsn, *, orders: int, last_day: date) -> None:
    """Do what `bulk` does in a totesys without rows, or without tables."""
    made = _made.get((orders, last_day))
    if not _has_tables(dsn):
        bulk(dsn, orders=orders, last_day=last_day)
    elif made is None:
        bulk(dsn, orders=orders, last_day=last_day)
        _made[orders, last_day] = _read(dsn)
    else:
        _write(dsn, made)


def _has_tables(dsn: Dsn) -> bool:
    with connect(dsn) as connection:
        [(table,)] = connection.execute("SELECT to_regclass('address')").fetchall()
    return table is not None


def _read(dsn: Dsn) -> Rows:
    rows, sequences = {}, {}
    with connect(dsn) as connection:
        for table in TABLES:
            command = sql.SQL("COPY {} TO STDOUT (FORMAT binary)").format(sql.Identifier(table))
            with connection.cursor().copy(command) as copy:
                rows[table] = b"".join(bytes(block) for block in copy)
            sequence = f"{table}_{table}_id_seq"
            state = sql.SQL("SELECT last_value, is_called FROM {}").format(sql.Identifier(sequence))
            [sequences[sequence]] = connection.execute(state).fetchall()
    return rows, sequences


def _write(dsn: Dsn, made: Rows) -> None:
    rows, sequences = made
    with connect(dsn, autocommit=True) as connection:
        with connection.transaction():
            for table, data in rows.items():
                command = sql.SQL("COPY {} FROM STDIN (FORMAT binary)").format(
                    sql.Identifier(table)
                )
                with connection.cursor().copy(command) as copy:
                    copy.write(data)
            for sequence, (last_value, is_called) in sequences.items():
                connection.execute("SELECT setval(%s, %s, %s)", [sequence, last_value, is_called])
        connection.execute("VACUUM (ANALYZE)")
