"""How metrics read the warehouse: snapshots, rebuilds, rights, and bound values."""

import ast
import re
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import date, datetime
from decimal import Decimal
from importlib.resources import files
from pathlib import Path

import psycopg
import pytest
from installation import Installation, at
from replicas import open_reading, replica_of

import totes.dashboard
from conftest import EmptyWarehouse
from totes.dashboard.bookkeeping import open_bookkeeping, refuse_writers
from totes.dashboard.filters import ALL_DAYS, Filter
from totes.dashboard.metrics import (
    overview,
    payments,
    purchases,
    sales,
)
from totes.dashboard.reading import open_reading as open_state
from totes.errors import UsageError, WarehouseError, WarehouseLocked, WarehouseUnavailable
from totes.stages.replay import replay

pytestmark = pytest.mark.few(2)


@pytest.mark.bare
def test_problems_of_the_warehouse_are_reported(warehouse: EmptyWarehouse) -> None:
    with pytest.raises(WarehouseError, match=r"has no tables yet: run `totes run --once`"):
        replica_of(warehouse.reader).refresh()
    with pytest.raises(WarehouseUnavailable, match="can't be reached"):
        replica_of(warehouse.reader.replace(host="/nowhere")).refresh()
    with (
        pytest.raises(WarehouseError, match="has no state"),
        open_state(replica_of(warehouse.reader)),
    ):
        pass


def test_all_numbers_of_a_page_are_from_one_snapshot(
    two_sales: Installation, warehouse: EmptyWarehouse
) -> None:
    november = Filter(date(2022, 11, 1), date(2022, 11, 30))
    with open_reading(warehouse.reader) as reading:
        before = overview.totals(reading, november)
        two_sales.change("UPDATE sales_order SET units_sold = 7")
        two_sales.run()
        assert overview.totals(reading, november) == before
    with open_reading(warehouse.reader) as reading:
        assert overview.totals(reading, november) != before


def test_a_rebuild_becomes_visible_at_once(
    two_sales: Installation, warehouse: EmptyWarehouse
) -> None:
    def count_sales() -> tuple[datetime | None, int]:
        with open_reading(warehouse.reader) as reading:
            return reading.state.captured_at, sales.total(reading, Filter(*ALL_DAYS)).count

    before = count_sales()
    assert before[1] == 2
    asked: list[Future[tuple[datetime | None, int]]] = []

    def meanwhile() -> None:
        asked.append(pool.submit(count_sales))
        while not two_sales.query("SELECT 1 FROM pg_locks WHERE NOT granted"):
            assert not asked[0].done()

    with ThreadPoolExecutor(1) as pool:
        with at("rebuild.before-commit", meanwhile):
            list(replay(two_sales.pipeline))
        assert asked[0].result() == before


def test_a_page_and_a_rebuild_do_not_wait_for_each_other(
    two_sales: Installation, warehouse: EmptyWarehouse
) -> None:
    november = Filter(date(2022, 11, 1), date(2022, 11, 30))
    with open_reading(warehouse.reader) as reading:
        assert list(replay(two_sales.pipeline))
        assert sales.total(reading, november).count == 2


def test_a_locked_warehouse_leaves_the_last_state(
    two_sales: Installation, warehouse: EmptyWarehouse
) -> None:
    replica = replica_of(warehouse.reader)
    replica.refresh()
    with psycopg.connect(two_sales.warehouse.reveal()) as connection:
        connection.execute("LOCK TABLE fact_payment IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(WarehouseLocked):
            replica.refresh_within(60)
        with open_state(replica) as opened:
            assert sales.total(opened, Filter(*ALL_DAYS)).count == 2
    assert replica.refresh_within(60)


def test_a_page_can_not_write(two_sales: Installation, warehouse: EmptyWarehouse) -> None:
    for dsn in (warehouse.reader, warehouse.dsn):
        for attempt in ("DELETE FROM fact_payment", "CREATE TABLE mine ()", "SELECT nextval('x')"):
            with open_bookkeeping(dsn) as bookkeeping, pytest.raises(psycopg.Error):
                bookkeeping._connection.execute(attempt.encode())
    assert two_sales.query("SELECT count(*) > 0 FROM fact_payment") == [(True,)]
    refuse_writers(warehouse.reader)
    with pytest.raises(UsageError, match="TOTES_DASHBOARD_DSN"):
        refuse_writers(warehouse.dsn)


GRANTS = (
    ("UPDATE (paid) ON fact_payment", "UPDATE (paid) ON fact_payment"),
    ("INSERT ON current_payment", "INSERT ON current_payment"),
    ("USAGE ON ALL SEQUENCES IN SCHEMA public", "ALL ON ALL SEQUENCES IN SCHEMA public"),
    ("CREATE ON SCHEMA totes", "CREATE ON SCHEMA totes"),
    ("pg_write_all_data", "pg_write_all_data"),
)


def test_a_role_that_may_write_anything_is_rejected(warehouse: EmptyWarehouse) -> None:
    with psycopg.connect(warehouse.reader.reveal()) as connection:
        reader = connection.info.user
    with psycopg.connect(warehouse.admin.reveal(), autocommit=True) as connection:
        for grant, revoke in GRANTS:
            refuse_writers(warehouse.reader)
            connection.execute(f"GRANT {grant} TO {reader}".encode())
            try:
                with pytest.raises(UsageError, match=reader):
                    refuse_writers(warehouse.reader)
            finally:
                connection.execute(f"REVOKE {revoke} FROM {reader}".encode())
    refuse_writers(warehouse.reader)


HOSTILE = ("'; DROP TABLE fact_payment; --", "{source}", "%(since)s", "\\", '"', "$1", "%")


@pytest.mark.usefixtures("two_sales")
def test_hostile_values_are_bound(warehouse: EmptyWarehouse) -> None:
    """Values are bound, even if they were not checked as in a URL."""
    criteria = Filter(date(2022, 11, 1), date(2022, 11, 30), HOSTILE, HOSTILE, HOSTILE)
    criteria = replace(criteria, reporting=HOSTILE[0])
    with open_reading(warehouse.reader) as reading:
        assert overview.totals(reading, criteria).revenue.value == 0
        assert sales.rows(reading, criteria).empty
        assert payments.rows(reading, criteria).empty
        assert purchases.by(reading, criteria, "item").empty


def test_sql_is_in_files_and_values_are_bound() -> None:
    """Statements that Python runs are constants, but for the names that `reading` sets."""
    package = Path(totes.dashboard.__file__).parent
    for path in package.rglob("*.py"):
        if path.parent.name == "replica":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".execute"):
                where = f"{path.name}:{node.lineno}"
                named = ast.unparse(node.args[0]).startswith("read_query('")
                runs = path.name in {"reading.py", "worker.py"} or path.parent.name == "bookkeeping"
                assert runs or named, where
                if isinstance(node.args[0], ast.JoinedStr):
                    assert ast.unparse(node.args[0]) == "f'SET VARIABLE {name} = $1::{kind}'"


@pytest.mark.usefixtures("two_sales")
def test_each_question_runs_by_hand(warehouse: EmptyWarehouse) -> None:
    """As in DuckDB's shell: the views, a variable, the file."""
    replica = replica_of(warehouse.reader)
    replica.refresh()
    package = files("totes.dashboard")
    questions = sorted((package / "questions").iterdir(), key=lambda file: file.name)
    assert len(questions) > 20
    with replica.reading() as engine:
        engine.execute((package / "views.sql").read_text())
        for one in ("keys", "transactions", "rates"):
            engine.execute((package / f"selection/{one}.sql").read_text())
        for question in questions:
            text = question.read_text(encoding="utf-8")
            assert text.startswith("-- "), question.name
            used = set(re.findall(r"getvariable\('(\w+)'\)", text))
            assert used <= PARAMETERS, question.name
            found = engine.execute(text)
            assert found.description, question.name
            names = [column[0] for column in found.description]
            assert len(set(names)) == len(names), question.name
        engine.execute("SET VARIABLE since = DATE '2022-11-01'")
        engine.execute("SET VARIABLE until = DATE '2022-11-30'")
        total = engine.execute((package / "questions/orders_total.sql").read_text()).fetchone()
        assert total is not None
        assert total[0] == Decimal(500)
        variables = engine.execute("SELECT name FROM duckdb_variables()").fetchall()
    assert {name for (name,) in variables} == PARAMETERS


PARAMETERS = {
    *("since", "until", "currencies", "countries", "departments", "counterparties", "as_of"),
    *("reporting", "kind", "dimension", "grain", "today", "row_limit", "each", "delivery_from"),
    *("which", "moments", "fact", "key", "at_least"),
    *("staff_members", "record_kind", "record_key", "changed_column", "only_silent"),
    *("captured_from", "captured_after", "search"),
    *(
        "currency_ids",
        "location_ids",
        "counterparty_country_ids",
        "staff_ids",
        "reporting_currency_ids",
    ),
}
