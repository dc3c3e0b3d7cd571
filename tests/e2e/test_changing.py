"""The first two tasks of docs/changing.md, in a copy of the checkout, with existing data.

They need the files that docs/changing.md names and no others: the copy's own tests pass.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from checked_installation import CheckedInstallation
from installation import Installation
from warehouse_oracle import find_differences

CHECKOUT = Path(__file__).parents[2]

STAR = "src/totes/star/totesys"

GENERATED = (
    f"{STAR}/models/lineage.json",
    "terraform/modules/catalogue/star_tables.json",
    "docs/star.md",
)

OTHER_TESTS = (
    "tests/unit/test_transform.py::test_every_star_table_gets_its_rows",
    "tests/unit/test_transform.py::test_a_change_of_a_department_changes_its_staff_only",
    "tests/unit/test_transform.py::test_a_delete_has_only_the_key",
    "tests/unit/test_transform.py::test_a_table_without_a_key_is_replaced_by_each_whole_capture",
    "tests/unit/test_generations.py::test_a_replay_by_the_same_engine_is_equal",
    "tests/integration/test_models.py::test_the_columns_a_model_reads_are_found",
    "tests/integration/test_models.py::test_every_natural_key_except_date_id_is_a_source_key",
    "tests/integration/test_erd.py::test_the_tables_have_the_columns_of_the_erd",
)
"""Tests that name the columns of staff or departments, or count tables."""

SALES = "count(*), sum(units_sold * unit_price) FROM current_sales_order"

DEPARTMENT = """
[dim_department]
comment = "A department, as it is now."
key = "department_id"

[dim_department.columns]
department_id = { type = "integer", comment = "Key, as in totesys." }
department_name = { type = "text", comment = "Name of the department." }
"""


def replace_in(path: Path, old: str, new: str) -> None:
    """Replace the only occurrence of a text in a file."""
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def add_column(checkout: Path) -> None:
    """Task 1: dim_staff.department_manager, between two columns that exist, with its test."""
    star = checkout / STAR
    replace_in(
        star / "star.toml",
        'email_address = { type = "text", comment = "Email address." }',
        'department_manager = { type = "text", nullable = true, comment = "Who leads it." }\n'
        'email_address = { type = "text", comment = "Email address." }',
    )
    model = star / "models" / "dim_staff.sql"
    replace_in(
        model,
        "        department.location,\n",
        "        department.location,\n        department.manager as department_manager,\n",
    )
    replace_in(
        model, "    location,\n    email", "    location,\n    department_manager,\n    email"
    )
    replace_in(
        star / "verify" / "dim_staff.sql",
        "    s.email_address\n",
        "    (SELECT d.manager FROM department AS d WHERE d.department_id = s.department_id),\n"
        "    s.email_address\n",
    )
    replace_in(
        checkout / "tests" / "unit" / "test_transform.py",
        '        "location": "Manchester",\n',
        '        "location": "Manchester",\n        "department_manager": "Richard Roma",\n',
    )


def add_table(checkout: Path) -> None:
    """Task 2: dim_department, which no table refers to, with its test."""
    star = checkout / STAR
    declaration = star / "star.toml"
    declaration.write_text(declaration.read_text() + DEPARTMENT)
    (star / "models" / "dim_department.sql").write_text(
        "select department_id, department_name from department where _changed\n"
    )
    (star / "verify" / "dim_department.sql").write_text(
        "SELECT department_id, department_name FROM department\n"
    )
    replace_in(
        checkout / "tests" / "unit" / "test_transform.py",
        '    "dim_location": {\n',
        '    "dim_department": {"department_id": 1, "department_name": "Sales"},\n'
        '    "dim_location": {\n',
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the checkout's files, as a clone has them, without installed packages."""
    listed = subprocess.check_output(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=CHECKOUT,
        text=True,
    )
    copy = tmp_path / "checkout"
    for name in filter(None, listed.split("\0")):
        if (CHECKOUT / name).is_file():  # not if it was deleted and the deletion not committed
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, copy / name)
    return copy


def run_python(
    checkout: Path, *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python with the packages of this environment, and `totes` from a checkout."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env=os.environ | environment | {"PYTHONPATH": str(checkout / "src")},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def test_a_column_and_a_table_are_added_to_the_packaged_star(
    installation: Installation, checkout: Path
) -> None:
    def totes(*arguments: str, exit_code: int = 0) -> str:
        result = run_python(checkout, "-m", "totes", *arguments, **installation.environment)
        assert result.returncode == exit_code, result.stdout
        return result.stdout

    checked = CheckedInstallation(installation, installation.pipeline)
    installation.add_orders()
    totes("run", "--once")
    checked.record_batches()
    sales = installation.query(f"SELECT {SALES}")
    assert sales != [(0, None)]

    add_column(checkout)
    add_table(checkout)
    generated = run_python(checkout, "tools/star.py")  # what `make star` runs
    assert generated.returncode == 0, generated.stdout
    for name in GENERATED:
        assert (checkout / name).read_bytes() != (CHECKOUT / name).read_bytes(), name

    added = totes("warehouse", "migrate")
    assert "added column dim_staff.department_manager" in added
    assert "added table dim_department" in added
    assert "up to date" in totes("warehouse", "migrate")

    installation.change("UPDATE department SET manager = 'New Manager' WHERE department_id = 1")
    waiting = totes("run", "--once", exit_code=6)
    checked.record_batches()
    assert "run totes replay" in waiting.replace("`", "")
    totes("replay")

    installation.change("UPDATE staff SET department_id = 1 WHERE staff_id = 1")
    totes("run", "--once")
    checked.record_batches()
    managers = "SELECT department_manager FROM dim_staff WHERE staff_id = 1"
    assert installation.query(managers) == [("New Manager",)]
    assert installation.query(
        "SELECT count(*) FROM dim_staff WHERE department_manager IS NULL"
    ) == [(0,)]
    assert installation.query("SELECT count(*) > 1 FROM dim_department") == [(True,)]
    assert installation.query(f"SELECT {SALES}") == sales
    assert "dim_department" in totes("verify")
    with psycopg.connect(installation.warehouse.reveal(), options="-cTimeZone=UTC") as warehouse:
        assert not find_differences(checked.oracle, warehouse), "of the columns there were before"

    tests = run_python(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", *OTHER_TESTS)
    assert tests.returncode == 0, tests.stdout
