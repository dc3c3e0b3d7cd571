"""A user's SQL statement: its result, and what it can't do, however hostile it is."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import psutil
import pytest
from sample_business import SampleBusiness
from statements import answer, open_engine

from totes.dashboard.explore import sandbox, worker
from totes.dashboard.explore.sandbox import COUNTED_ROWS, SHOWN_ROWS, Sandbox, StatementError
from totes.star.folder import TOTESYS
from totes.warehouse.ddl import warehouse_columns


@pytest.fixture(scope="module")
def box(business: SampleBusiness) -> Sandbox:
    business.backends.replica.refresh()
    return business.backends.sandbox


@pytest.fixture(scope="module")
def engine(
    business: SampleBusiness, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[duckdb.DuckDBPyConnection]:
    with open_engine(business.backends.replica, tmp_path_factory.mktemp("worker")) as opened:
        yield opened


def test_the_declared_views_and_functions_have_the_rows_of_the_warehouse(
    business: SampleBusiness, engine: duckdb.DuckDBPyConnection
) -> None:
    for star in TOTESYS.tables.values():
        named = filter(None, [star.current_view, star.all_view, star.as_of_function])
        for relation in (view.name for view in named):
            calls = [relation]
            if star.as_of_function and relation == star.as_of_function.name:
                calls = [f"{relation}('{moment}')" for moment in ("2000-01-01", "2100-01-01")]
            for call in calls:
                count = f"SELECT count(*) FROM {call}"
                expected = [list(row) for row in business.installation.query(count)]
                assert answer(engine, count)["rows"] == expected, call
                described = answer(engine, f"SELECT * FROM {call} LIMIT 0")["columns"]
                assert [name for name, _ in described] == [
                    column.name
                    for column in warehouse_columns(star)
                    if column.name not in {"valid_from", "valid_to"}
                ]


def test_a_conversion_has_the_sources_of_the_warehouse(
    business: SampleBusiness, engine: duckdb.DuckDBPyConnection
) -> None:
    for currency in ("GBP", "EUR", "USD"):
        query = (
            "SELECT source, carried_forward, count(*), count(DISTINCT rate_date)::int,"
            " sum(rate)::numeric(30, 12)::text"
            f" FROM exchange_rate_to('{currency}') GROUP BY 1, 2 ORDER BY 1, 2"
        )
        expected = [list(row) for row in business.installation.query(query)]
        assert len(expected) > 1
        assert answer(engine, query)["rows"] == expected


REJECTED = (
    *("", ";", "-- nothing", "SELECT 1; SELECT 2", "SELECT 1; DROP TABLE fact_payment"),
    *("ATTACH 'other.duckdb'", "DETACH warehouse", "USE memory", "BEGIN", "CHECKPOINT", "VACUUM"),
    *("COPY (SELECT 1) TO 'file.csv'", "COPY dim_date FROM 'file.csv'", "EXPORT DATABASE 'here'"),
    *("IMPORT DATABASE 'here'", "INSTALL httpfs", "LOAD httpfs", "LOAD '/tmp/extension.so'"),
    *("SET memory_limit = '10GB'", "RESET memory_limit", "PRAGMA threads = 64"),
    *("SET GLOBAL lock_configuration = false", "SET VARIABLE since = NULL"),
    *(
        "CREATE SECRET one (TYPE s3)",
        "CREATE TEMP TABLE mine AS SELECT 1",
        "CREATE VIEW v AS SELECT 1",
    ),
    *("CREATE MACRO m() AS 1", "INSERT INTO dim_date FROM dim_date", "DELETE FROM fact_payment"),
    *("UPDATE dim_staff SET first_name = 'x'", "DROP TABLE fact_payment", "TRUNCATE dim_date"),
    *("MERGE INTO dim_date USING dim_date AS o ON true WHEN MATCHED THEN DELETE",),
    *("CALL enable_logging()", "EXPLAIN ANALYZE DELETE FROM dim_date", "PREPARE p AS SELECT 1"),
)
"""Statements that are no SELECT, or more than one."""

FAILING = {
    "file system operations are disabled": (
        "FROM read_csv('/etc/passwd')",
        "FROM read_text('/proc/self/environ')",
        "FROM read_blob('/etc/passwd')",
        "FROM read_json('/etc/passwd')",
        "FROM read_parquet('/etc/passwd')",
        "FROM read_duckdb('/etc/passwd')",
        "FROM sniff_csv('/etc/passwd')",
        "FROM parquet_metadata('/etc/passwd')",
        "FROM glob('/etc/*')",
        "FROM 'file.csv'",
        "FROM 'https://127.0.0.1/file.csv'",
        "FROM read_csv('https://127.0.0.1/file.csv')",
        "FROM read_csv('s3://bucket/file.csv')",
        "FROM duckdb_secrets()",
        "FROM duckdb_extensions()",
    ),
    "the configuration has been locked": (
        "FROM enable_logging(storage = 'file')",
        "FROM enable_profiling()",
    ),
    "read-only": (
        "WITH gone AS (DELETE FROM dim_date RETURNING *) FROM gone",
        "WITH new AS (INSERT INTO dim_date FROM dim_date RETURNING *) FROM new",
    ),
    "does not exist|is not in the catalog": (
        "SELECT getenv('HOME')",
        "FROM replica_state",
        "FROM warehouse.main.replica_state",
        "FROM query_table('replica_state')",
        "FROM quarantine",
        "FROM request",  # a variable of the worker
        "SELECT set_config('memory_limit', '10GB', false)",
        "FROM postgres_scan('', '', '')",
    ),
    "Expected a single SELECT": ("FROM query('SET threads = 64')", "FROM query('DROP VIEW staff')"),
    "expression depth": (
        "SELECT " + "(" * 9000 + "1" + ")" * 9000,
        "SELECT " + "NOT " * 4000 + "true",
        "SELECT " + "1 + " * 4000 + "1",
        "SELECT " + "[" * 9000 + "]" * 9000,
        "SELECT * FROM " + "(SELECT * FROM " * 1100 + "dim_date" + ")" * 1100,
    ),
    "unterminated": ("SELECT 'text", "SELECT 1 /*"),
    "(?i)out of memory": (
        "SELECT list(i) FROM range(200000000) AS numbers (i)",
        "FROM range(10000000000) ORDER BY 1 DESC",
        "SELECT hash(i), count(*) FROM range(1000000000) AS numbers (i) GROUP BY ALL",
    ),
    "too large": ("SELECT repeat('x', 100000)",),
}
"""SELECT statements, by a part of the error."""


def test_a_statement_reads_only_the_copy(engine: duckdb.DuckDBPyConnection) -> None:
    days = answer(engine, "SELECT count(*) FROM dim_date")["rows"]
    assert days > [[0]]
    for statement in REJECTED:
        error = answer(engine, statement)["error"]
        assert error == worker.ONE_SELECT or error.startswith("Parser Error"), statement
    for message, statements in FAILING.items():
        for statement in statements:
            assert re.search(message, answer(engine, statement).get("error", "no error")), statement
    [[file]] = answer(engine, "SELECT path FROM duckdb_databases() WHERE path IS NOT NULL")["rows"]
    assert answer(engine, f"FROM read_blob('{file}')")["rows"] == []
    assert answer(engine, "SELECT count(*) FROM dim_date")["rows"] == days
    assert answer(engine, "SELECT current_setting('memory_limit')")["rows"] == [["122.0 MiB"]]


def test_values_keep_their_types(box: Sandbox) -> None:
    """In one statement, as each has a process of its own."""
    result = box.run(
        """SELECT 1.50::decimal(18, 2) AS amount, 9007199254740993 AS a, 2::hugeint ** 1 AS a,
        170141183460469231731687303715884105727 AS huge, date '2024-02-29' AS day,
        timestamp '2024-01-01' AS month, timestamp '2024-01-01 10:00' AS local,
        timestamptz '2024-01-01 12:00:00+02' AS moment, 'NaN'::double AS nan, true AS yes,
        [1, 2] AS list, 'x' || chr(0) AS text, NULL::integer AS nothing, date '20000-01-01' AS far,
        getvariable('since') AS since, getvariable('departments')[2] AS department,
        getvariable('as_of') AS as_of""",
        {
            "since": date(2020, 1, 2),
            "departments": ["a", "'; DROP"],
            "as_of": datetime(2021, 1, 1, tzinfo=UTC),
        },
    )
    row = result.rows.to_dict("records")[0]
    assert row.pop("nan") != 0
    assert row == {
        "amount": Decimal("1.50"),
        "a": 9007199254740993,
        "a_2": 2.0,
        "huge": Decimal(2**127 - 1),
        "day": date(2024, 2, 29),
        "month": date(2024, 1, 1),
        "local": "2024-01-01 10:00:00",
        "moment": datetime(2024, 1, 1, 10, tzinfo=UTC),
        "yes": True,
        "list": "[1, 2]",
        "text": "x\0",
        "nothing": None,
        "far": "20000-01-01",
        "since": date(2020, 1, 2),
        "department": "'; DROP",
        "as_of": datetime(2021, 1, 1, tzinfo=UTC),
    }


def test_rows_are_limited_and_counted(box: Sandbox) -> None:
    some = box.run(f"FROM range({SHOWN_ROWS + 5})", {})
    assert (len(some.rows), some.total) == (SHOWN_ROWS, SHOWN_ROWS + 5)
    many = box.run("FROM range(1000000000000)", {})
    assert len(many.rows) == SHOWN_ROWS
    assert many.total > COUNTED_ROWS


def test_a_statement_that_takes_too_long_is_stopped(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 1)
    for statement in (
        "SELECT count(*) FROM range(1000000) a, range(1000000) b, range(1000000) c",
        "WITH RECURSIVE x AS (SELECT 1 AS a UNION ALL SELECT a FROM x) SELECT count(*) FROM x",
    ):
        with pytest.raises(StatementError, match="stopped after 1 s"):
            box.run(statement, {})
    assert _workers() == []


def test_a_user_can_stop_a_statement(box: Sandbox) -> None:
    class StopScript(BaseException):
        """As Streamlit ends a script."""

    def stop() -> None:
        assert len(_workers()) == 1
        raise StopScript

    with pytest.raises(StopScript):
        box.run(
            "SELECT count(*) FROM range(1000000) a, range(1000000) b, range(1000000) c", {}, stop
        )
    assert _workers() == []


def test_a_statement_that_ends_the_process_is_an_error(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crash = tmp_path / "worker.py"
    crash.write_text("import os\nos.abort()\n")
    monkeypatch.setattr(sandbox, "_WORKER", crash)
    with pytest.raises(StatementError, match="ended DuckDB's process"):
        box.run("SELECT 1", {})


def test_memory_outside_of_duckdbs_limit_is_limited(box: Sandbox) -> None:
    """DuckDB does not count the memory of every text, nor what Python makes of a value."""
    for statement in ("SELECT range(12000000)", "SELECT repeat('x', 100000000)"):
        with pytest.raises(StatementError, match="memory"):
            box.run(statement, {})


def test_only_two_statements_run_at_the_same_time(
    box: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0)
    with box._slots, box._slots, pytest.raises(StatementError, match="Other users' statements"):
        box.run("SELECT 1", {})


def test_a_statement_sees_the_newest_state(business: SampleBusiness, box: Sandbox) -> None:
    count = "SELECT count(*) FROM fact_sales_order"
    before = box.run(count, {}).rows.iloc[0].to_list()
    business.installation.change(
        "UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id = 1"
    )
    business.catch_up()
    business.backends.replica.refresh()
    after = box.run(f"SELECT ({count}) - 1 AS count", {}).rows.iloc[0].to_list()
    assert after == before
    assert [file.name for file in box._folder.iterdir()] == [worker.DATABASE]


def _workers() -> list[psutil.Process]:
    return [
        child for child in psutil.Process().children() if str(sandbox._WORKER) in child.cmdline()
    ]
