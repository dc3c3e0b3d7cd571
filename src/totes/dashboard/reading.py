"""Query one state of the replica for a page.

Each question is a complete statement in `questions/`, over the views of `views.sql`. Its parameters
are DuckDB variables, so the same file can be run in DuckDB's shell.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from weakref import WeakKeyDictionary

import duckdb
import pandas as pd

from totes.dashboard.filters import ALL_DAYS, Filter
from totes.dashboard.replica import Replica, State, stored_state
from totes.errors import WarehouseError
from totes.sql_text import read_sql

_NO_FILTER = Filter(*ALL_DAYS)


class _Session:
    """A connection in which the views and variables exist; readings use it one after the other."""

    def __init__(self, engine: duckdb.DuckDBPyConnection) -> None:
        engine.execute(read_sql(__package__, "views.sql"))
        variables = engine.execute("SELECT name, type FROM duckdb_variables()").fetchall()
        # Those of keys are set by selection/keys.sql.
        self.types = {name: kind for name, kind in variables if not name.endswith("_ids")}
        self.bound: dict[str, object] = {}
        self.selected: dict[str, object] = {}
        """By each file of `selection/`, what it was run for."""


_SESSIONS: WeakKeyDictionary[duckdb.DuckDBPyConnection, _Session] = WeakKeyDictionary()

_SELECTION = {
    "keys": ("currencies", "countries", "departments", "staff_members", "reporting"),
    "transactions": ("departments", "staff_members", "as_of"),
    "rates": ("reporting", "as_of"),
}
"""The files of `selection/`, in their order, and the variables that their results depend on."""


class Reading:
    """One state of the replica, which all questions of a page query."""

    def __init__(self, engine: duckdb.DuckDBPyConnection, state: State) -> None:
        self._engine = engine
        self.state = state
        self.now = datetime.now(UTC)
        self._cache: dict[object, Any] = {}
        if engine not in _SESSIONS:
            _SESSIONS[engine] = _Session(engine)
        self._session = _SESSIONS[engine]

    def run(self, question: str, criteria: Filter | None = None, **values: object) -> pd.DataFrame:
        """Return the result of `questions/QUESTION.sql`; DECIMAL columns contain Decimal.

        The variables of the filter and of `values` are set; all others are NULL. Questions that
        convert amounts or select rows need a filter. Raises duckdb.Error.
        """
        return frame(*self._query(question, criteria, values))

    def rows(self, question: str, criteria: Filter | None = None, **values: object) -> list[Any]:
        """Return the same as tuples."""
        return self._query(question, criteria, values)[0]

    def row(
        self, question: str, criteria: Filter | None = None, **values: object
    ) -> dict[str, Any]:
        """Return the only row of the result, by column."""
        [row], names = self._query(question, criteria, values)
        return dict(zip(names, row, strict=True))

    def query(self, sql: str, criteria: Filter | None = None, **values: object) -> list[Any]:
        """Return the rows of a statement over the views, such as that of a metric."""
        return self._run(sql, criteria, values)[0]

    def cached[T](self, key: object, query: Callable[[], T]) -> T:
        """Return the result of `query`, which is called once for each key."""
        if key not in self._cache:
            self._cache[key] = query()
        result: T = self._cache[key]
        return result

    def _query(
        self, question: str, criteria: Filter | None, values: dict[str, object]
    ) -> tuple[list[Any], list[str]]:
        return self._run(read_sql(__package__, f"questions/{question}.sql"), criteria, values)

    def _run(
        self, sql: str, criteria: Filter | None, values: dict[str, object]
    ) -> tuple[list[Any], list[str]]:
        variables = parameters(criteria or _NO_FILTER)
        self._set(variables | values)
        if criteria:
            self._select(variables)
        result = self._engine.execute(sql)
        return result.fetchall(), [column[0] for column in result.description or ()]

    def _set(self, values: dict[str, object]) -> None:
        bound = self._session.bound
        for name, kind in self._session.types.items():
            value = values.get(name)
            if name not in bound or bound[name] != value:
                self._engine.execute(f"SET VARIABLE {name} = $1::{kind}", [value])
                bound[name] = value

    def _select(self, values: dict[str, object]) -> None:
        """Run the files of `selection/` whose results the variables or the state have changed."""
        for name, variables in _SELECTION.items():
            used = [self.state, *(values[one] for one in variables)]
            if self._session.selected.get(name) != used:
                self._engine.execute(read_sql(__package__, f"selection/{name}.sql"))
                self._session.selected[name] = used


def session_scripts() -> tuple[str, str]:
    """Return the SQL of the views and variables, and the SQL to run when the variables are set."""
    return read_sql(__package__, "views.sql"), "".join(
        read_sql(__package__, f"selection/{name}.sql") for name in _SELECTION
    )


def parameters(criteria: Filter) -> dict[str, object]:
    """Return the values of DuckDB's variables for a filter, by name."""
    return {
        "since": criteria.since,
        "until": criteria.until,
        "currencies": list(criteria.currencies) or None,
        "countries": list(criteria.countries) or None,
        "departments": list(criteria.departments) or None,
        "counterparties": list(criteria.counterparties) or None,
        "staff_members": list(criteria.staff) or None,
        "as_of": criteria.as_of,
        "reporting": criteria.reporting,
    }


def frame(rows: list[Any], names: list[str]) -> pd.DataFrame:
    """Return a frame; integers and texts keep their types beside NULL, unlike pandas' default."""
    frame = pd.DataFrame.from_records(rows, columns=names, coerce_float=False)
    for name, values in zip(names, zip(*rows, strict=True), strict=False):
        kinds = {type(value) for value in values}
        if kinds == {int, type(None)}:
            frame[name] = pd.array(values, dtype="Int64")
        elif kinds == {str, type(None)}:
            frame[name] = pd.Series(values, dtype=object)
    return frame


@contextmanager
def open_reading(replica: Replica) -> Iterator[Reading]:
    """Open one state of the replica. Raises WarehouseError if it has none or can't be read."""
    with replica.reading() as engine:
        try:
            state = stored_state(engine)
            if state is None:
                raise WarehouseError("The replica has no state of the warehouse yet.")
            yield Reading(engine, state)
        except duckdb.Error as error:
            raise WarehouseError(f"The dashboard's replica can't be read: {error}") from error
