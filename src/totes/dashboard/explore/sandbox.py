"""Run a user's SQL statement in a process of its own, on a copy of the replica.

docs/decisions/0031-a-users-sql-runs-in-a-process-of-its-own.md has the reasons.
"""

import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from shutil import rmtree
from threading import BoundedSemaphore, Lock
from typing import Any

import duckdb
import pandas as pd

from totes.dashboard import text
from totes.dashboard.explore import worker
from totes.dashboard.explore.warehouse import warehouse_views
from totes.dashboard.reading import frame, session_scripts
from totes.dashboard.replica import Replica, State

LOG = logging.getLogger(__name__)

SECONDS = 10
"""A statement is stopped after so long."""

STATEMENTS = 2
"""How many statements run at the same time."""

MAX_STATEMENT_LENGTH = 20_000

SHOWN_ROWS, COUNTED_ROWS = 10_000, 100_000
"""How many rows of a result are returned, and up to which number they are counted."""

RESULT_BYTES = 16 << 20

_POLL_SECONDS = 0.2

_WORKER = Path(worker.__file__)

_MAX_INTEGER = 2**63 - 1
_DAY_LENGTH = len("2026-11-29")


class StatementError(Exception):
    """A statement has no result; the message is for the user who wrote it."""


@dataclass(frozen=True)
class Result:
    """The rows of a statement; there are more if `total` is larger than their number.

    Column names are unique, without control characters. `total` is at most COUNTED_ROWS, plus some
    for larger results.
    """

    rows: pd.DataFrame
    total: int
    seconds: float
    batch: int | None = None
    """The newest batch of the data."""


class Sandbox:
    """Runs statements on copies of a replica. Its methods may be called from any thread."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._folder = replica.folder / "explore"
        self._copying = Lock()
        self._copied: State | None = None
        self._slots = BoundedSemaphore(STATEMENTS)

    def run(
        self,
        statement: str,
        variables: Mapping[str, object],
        while_waiting: Callable[[], None] = lambda: None,
    ) -> Result:
        """Return the result of one SELECT statement, with DuckDB's `variables` set.

        `while_waiting` is called several times a second; if it raises, the statement is stopped.
        Raises StatementError.
        """
        if len(statement) > MAX_STATEMENT_LENGTH:
            raise StatementError(
                f"The statement is longer than {MAX_STATEMENT_LENGTH:,} characters."
            )
        if not self._slots.acquire(timeout=SECONDS):
            raise StatementError("Other users' statements are running. Try again in a minute.")
        try:
            folder, batch = self._open_copy()
            with folder:
                answer = self._ask(Path(folder.name), statement, variables, while_waiting)
        except (OSError, duckdb.Error) as error:  # such as a full disk
            LOG.warning("a statement can't be run: %s", error)
            raise StatementError(
                "The statement can't be run, because the data can't be copied for it. The "
                "dashboard's log has the reason."
            ) from error
        finally:
            self._slots.release()
        return replace(result_of(answer), batch=batch)

    def _open_copy(self) -> tuple[tempfile.TemporaryDirectory[str], int | None]:
        """Return a folder with a link to a copy of the replica's newest state, and its batch."""
        with self._copying:
            copy = self._folder / worker.DATABASE
            state = self._replica.state
            if self._copied is None:
                rmtree(self._folder, ignore_errors=True)  # of an earlier process
                self._folder.mkdir()
            if self._copied != state:
                if self._replica.copy_star(copy):
                    self._copied = state
                elif self._copied is None:
                    raise StatementError("The data is being copied. Try again in a minute.")
            folder = tempfile.TemporaryDirectory(dir=self._folder)
            os.link(copy, Path(folder.name) / worker.DATABASE)
            return folder, self._copied.batch if self._copied else None

    def _ask(
        self,
        folder: Path,
        statement: str,
        variables: Mapping[str, object],
        while_waiting: Callable[[], None],
    ) -> dict[str, Any]:
        request = request_of(statement, variables, self._replica.memory_mb // STATEMENTS)
        pending_input: bytes | None = json.dumps(request, default=str).encode()
        deadline = time.monotonic() + SECONDS
        process = subprocess.Popen(  # noqa: S603  fixed arguments
            [sys.executable, "-P", str(_WORKER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=folder,
            env={"PYTHONPATH": os.pathsep.join(sys.path)},  # no secrets
        )
        with process:
            try:
                while True:
                    try:
                        output, _ = process.communicate(pending_input, timeout=_POLL_SECONDS)
                        break
                    except subprocess.TimeoutExpired:
                        if time.monotonic() > deadline:
                            raise StatementError(
                                f"The statement was stopped after {SECONDS} s."
                            ) from None
                        pending_input = None  # it is being sent
                        while_waiting()
            finally:
                process.kill()
        if process.returncode:
            raise StatementError(
                "The statement ended DuckDB's process: it needs too much memory or CPU time, or is "
                "nested too deeply."
            )
        answer: dict[str, Any] = json.loads(output)
        return answer


def request_of(
    statement: str, variables: Mapping[str, object], memory_mb: int
) -> dict[str, object]:
    """Return the request to a worker for a statement."""
    views, selection = session_scripts()
    return {
        "statement": statement,
        "views": views + warehouse_views(),
        "variables": dict(variables),
        "selection": selection,
        "memory_mb": memory_mb,
        "seconds": SECONDS,
        "shown_rows": SHOWN_ROWS,
        "counted_rows": COUNTED_ROWS,
        "bytes": RESULT_BYTES,
    }


def result_of(answer: Mapping[str, Any]) -> Result:
    """Return the result of a worker's answer. Raises StatementError."""
    if "error" in answer:
        raise StatementError(answer["error"])
    names = _unique([text.plain(name) for name, _ in answer["columns"]])
    columns = [
        _values(kind, [row[place] for row in answer["rows"]])
        for place, (_, kind) in enumerate(answer["columns"])
    ]
    rows = list(zip(*columns, strict=True))
    return Result(frame(rows, names), answer["total"], answer["seconds"])


def _unique(names: list[str]) -> list[str]:
    """Return the names, with a number after those that occur before."""
    unique: list[str] = []
    for name in names:
        candidate, number = name, 2
        while candidate in unique:
            candidate, number = f"{name}_{number}", number + 1
        unique.append(candidate)
    return unique


def _values(kind: str, values: list[Any]) -> list[Any]:
    """Return a column of JSON as Python's type for DuckDB's type.

    Integers of more than 64 bits are Decimal, timestamps without a time zone dates if all are at
    midnight. Years after 9999 and all other types remain texts.
    """
    if any(isinstance(value, int) and abs(value) > _MAX_INTEGER for value in values):
        return [value if value is None else Decimal(value) for value in values]
    parse: Callable[[str], Any] | None = None
    if re.fullmatch(r"DECIMAL\(\d+,\d+\)", kind):
        parse = Decimal
    elif kind == "DATE" or kind.startswith("TIMESTAMP"):
        texts = [value.removesuffix(" 00:00:00") for value in values if value is not None]
        is_day = "WITH TIME ZONE" not in kind and all(len(one) == _DAY_LENGTH for one in texts)
        if is_day:
            values = [value and value[:_DAY_LENGTH] for value in values]
            parse = date.fromisoformat
        elif "WITH TIME ZONE" in kind:
            parse = datetime.fromisoformat
    if parse is None:
        return values
    try:
        return [value if value is None else parse(value) for value in values]
    except ValueError:
        return values
