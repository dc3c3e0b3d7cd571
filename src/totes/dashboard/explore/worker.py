"""Run one SELECT statement on a copy of the replica: the process that `sandbox.py` starts.

It reads a request from stdin and writes the result to stdout, both as JSON. The statement may be
hostile: DuckDB can't use files or the network, its settings are locked, and the operating system
limits the process. It imports nothing of this package, so that it starts quickly.
"""

import json
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

PROCESS_MB = 256
"""Memory of Python and of what DuckDB does not count, beside DuckDB's memory limit."""

DATABASE = "replica.duckdb"
"""The copy, in the working directory."""

FETCHED_ROWS = 1000

ONE_SELECT = "Enter one SELECT statement. Statements that change data or settings are not allowed."


def main() -> None:
    """Answer the request of stdin."""
    request = json.load(sys.stdin)
    _limit_process(request["memory_mb"], request["seconds"])
    try:
        result = answer(open_engine(request), request)
    except (duckdb.OutOfMemoryException, MemoryError):
        memory = f"{request['memory_mb']:,} MB"
        result = {"error": f"The statement needs more memory than the {memory} that it may use."}
    except duckdb.Error as error:
        result = {"error": str(error)}
    json.dump(result, sys.stdout)


def _limit_process(memory_mb: int, seconds: int) -> None:
    """Limit memory, CPU time (of several threads) and written files, also of later code."""
    for limit, value in (
        (resource.RLIMIT_DATA, (memory_mb + PROCESS_MB) << 20),
        (resource.RLIMIT_CPU, 4 * seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (value, value))


def open_engine(request: Mapping[str, Any]) -> duckdb.DuckDBPyConnection:
    """Return an engine for statements of users, with the views and variables; delete the copy.

    Whatever else a statement creates or changes, it ends with the process.
    """
    engine = duckdb.connect(
        config={
            "memory_limit": f"{request['memory_mb']}MB",
            "threads": 2,
            "temp_directory": "",
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
    engine.execute("ATTACH 'replica.duckdb' AS warehouse (READ_ONLY)")
    Path(DATABASE).unlink()  # DuckDB lets statements read the files of attached databases
    engine.execute("USE warehouse")
    engine.execute(request["views"])
    kinds = dict(engine.execute("SELECT name, type FROM duckdb_variables()").fetchall())
    for name, value in request["variables"].items():
        kind = kinds[name]
        engine.execute(f"SET VARIABLE {name} = $1::{kind}", [value])
    engine.execute(request["selection"])
    engine.execute("SET enable_external_access = false")  # also ends reading Python's variables
    engine.execute("SET lock_configuration = true")
    return engine


def answer(engine: duckdb.DuckDBPyConnection, request: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns, rows, total and seconds of the request's statement, or its error."""
    statements = engine.extract_statements(request["statement"])
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        return {"error": ONE_SELECT}
    begun = time.monotonic()
    result = engine.execute(statements[0])
    columns = [(name, str(kind)) for name, kind, *_ in result.description or ()]
    rows: list[list[Any]] = []
    total = size = 0
    while total <= request["counted_rows"] and (chunk := result.fetchmany(FETCHED_ROWS)):
        total += len(chunk)
        if len(rows) < request["shown_rows"]:
            some = [[_plain(value) for value in row] for row in chunk]
            size += len(json.dumps(some))
            if size > request["bytes"]:
                return {"error": "The result is too large: select fewer columns or rows."}
            rows += some
    return {
        "columns": columns,
        "rows": rows[: request["shown_rows"]],
        "total": total,
        "seconds": time.monotonic() - begun,
    }


def _plain(value: Any) -> Any:
    """Return a value that JSON has unchanged, any other value as text."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


if __name__ == "__main__":
    main()
