"""The first two tasks of docs/changing.md, in a copy of the checkout, with existing data."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from installation import Installation

CHECKOUT = Path(__file__).parents[2]

STAR = "src/totes/star/totesys"

GENERATED = (
    f"{STAR}/models/lineage.json",
    "terraform/modules/catalogue/star_tables.json",
    "docs/star.md",
)

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


def add_column(star: Path) -> None:
    """Task 1: dim_staff.department_manager, between two columns that exist."""
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


def add_table(star: Path) -> None:
    """Task 2: dim_department, which no table refers to."""
    declaration = star / "star.toml"
    declaration.write_text(declaration.read_text() + DEPARTMENT)
    (star / "models" / "dim_department.sql").write_text(
        "select department_id, department_name from department where _changed\n"
    )
    (star / "verify" / "dim_department.sql").write_text(
        "SELECT department_id, department_name FROM department\n"
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

    installation.add_orders()
    totes("run", "--once")
    sales = installation.query(f"SELECT {SALES}")
    assert sales != [(0, None)]

    add_column(checkout / STAR)
    add_table(checkout / STAR)
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
    assert "run totes replay" in waiting.replace("`", "")
    totes("replay")

    installation.change("UPDATE staff SET department_id = 1 WHERE staff_id = 1")
    totes("run", "--once")
    managers = "SELECT department_manager FROM dim_staff WHERE staff_id = 1"
    assert installation.query(managers) == [("New Manager",)]
    assert installation.query(
        "SELECT count(*) FROM dim_staff WHERE department_manager IS NULL"
    ) == [(0,)]
    assert installation.query("SELECT count(*) > 1 FROM dim_department") == [(True,)]
    assert installation.query(f"SELECT {SALES}") == sales
    assert "dim_department" in totes("verify")
