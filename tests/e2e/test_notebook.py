"""The notebook on the lake: its results equal those of the same queries in the warehouse."""

import json
import shutil
from decimal import Decimal
from pathlib import Path
from typing import Any

import nbformat
import pytest
from installation import Installation
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from totes.stages.replay import replay

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "lake.ipynb"
PRINT_RESULTS = """
import json
print(json.dumps({
    "best_designs": best_designs.fetchall(),
    "changes": changes.project("* EXCLUDE changed_at").fetchall(),
    "debtors": debtors.fetchall(),
    "today": today,
}, default=str))
"""


def run_notebook(cell: str = "") -> Any:
    """Run the notebook with `cell` as its last cell; return the last line of the output."""
    notebook = nbformat.reads(NOTEBOOK.read_text(), as_version=4)  # type: ignore[no-untyped-call]
    notebook.cells.append(nbformat.v4.new_code_cell(cell))  # type: ignore[no-untyped-call]
    where = {"metadata": {"path": str(NOTEBOOK.parent)}}
    NotebookClient(notebook, timeout=120, kernel_name="python3", resources=where).execute()
    return notebook.cells[-1].outputs[-1].text.splitlines()[-1]


@pytest.fixture
def lake(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """An installation with changes, deletions, orphaned files and a second generation."""
    installation = installation.add_orders(40).with_rates()
    installation.run()
    installation.change(
        "UPDATE sales_order SET design_id = design_id % 20 + 1 WHERE sales_order_id <= 3"
    )
    installation.run()
    installation.change(
        "UPDATE sales_order SET units_sold = units_sold + 7, last_updated = now()"
        " WHERE sales_order_id = 2;"
        "DELETE FROM payment WHERE transaction_id IN"
        " (SELECT transaction_id FROM transaction WHERE sales_order_id = 4);"
        "DELETE FROM transaction WHERE sales_order_id = 4;"
        "DELETE FROM sales_order WHERE sales_order_id = 4"
    )
    installation.run()
    list(replay(installation.pipeline))
    for table in ("fact_sales_order", "fact_payment"):
        named = next((installation.processed / "generation=2" / table).rglob("*.parquet"))
        shutil.copy(named, named.with_name("orphan.parquet"))
    monkeypatch.setenv("TOTES_PROCESSED_URL", str(installation.processed))
    monkeypatch.setenv("TOTES_HOME", str(installation.folder / "home"))
    return installation


def test_the_notebooks_results_equal_those_of_the_warehouse(lake: Installation) -> None:
    found = json.loads(run_notebook(PRINT_RESULTS))
    designs = lake.query(
        "SELECT design_name, count(*), count(*) FILTER (WHERE rate IS NULL), sum(units_sold),"
        " round(sum(units_sold * unit_price * rate), 2) FROM current_sales_order s"
        " JOIN dim_design USING (design_id) JOIN dim_currency c USING (currency_id)"
        " LEFT JOIN exchange_rate_to('GBP') r"
        "   ON r.rate_date = s.created_date AND r.currency_code = c.currency_code"
        " GROUP BY design_id, design_name ORDER BY 5 DESC NULLS LAST, design_id LIMIT 10"
    )
    for (*counted, gbp), (*others, value) in zip(found["best_designs"], designs, strict=True):
        assert [counted[0], *map(int, counted[1:])] == others
        assert abs(Decimal(gbp) - value) <= Decimal("0.01")
    debtors = lake.query(
        "SELECT counterparty_legal_name, currency_code, count(*), sum(payment_amount),"
        f" max(date '{found['today']}' - payment_date) FROM current_payment"
        " JOIN dim_payment_type USING (payment_type_id) JOIN dim_currency USING (currency_id)"
        " JOIN dim_counterparty USING (counterparty_id)"
        " WHERE payment_type_name = 'SALES_RECEIPT' AND NOT paid"
        f"  AND payment_date < date '{found['today']}'"
        " GROUP BY counterparty_id, 1, 2 ORDER BY 4 DESC, counterparty_id, 2 LIMIT 10"
    )
    assert debtors
    assert [(*row[:3], Decimal(row[3]), row[4]) for row in found["debtors"]] == debtors
    assert sorted((row[0], row[1], row[4]) for row in found["changes"]) == [
        (1, "design_id", True),
        (2, "design_id", True),
        (2, "units_sold", False),
        (3, "design_id", True),
        (4, "deleted", None),
    ]
    [(before, after)] = [row[2:4] for row in found["changes"] if row[1] == "units_sold"]
    assert int(after) == int(before) + 7


def test_the_notebook_shows_what_to_do_if_the_lake_is_empty(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOTES_PROCESSED_URL", str(tmp_path))
    with pytest.raises(CellExecutionError, match="has no batch yet: run `make demo`"):
        run_notebook()
