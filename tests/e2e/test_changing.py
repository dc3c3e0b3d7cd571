"""The first two tasks of docs/changing.md, on a copy of the packaged star and existing data."""

import shutil
from pathlib import Path

import pytest
from installation import Installation

import totes.star

PACKAGED = Path(totes.star.__file__).parent / "totesys"

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
def changed(installation: Installation) -> Installation:
    """The installation with data from the packaged star, and TOTES_STAR set to a changed copy."""
    installation.filled()
    succeed(installation, "run", "--once")
    star = installation.folder / "star"
    shutil.copytree(PACKAGED, star)
    add_column(star)
    add_table(star)
    return installation.having(star=str(star))


def succeed(installation: Installation, *arguments: str) -> str:
    result = installation.totes(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_column_and_a_table_are_added_to_the_packaged_star(changed: Installation) -> None:
    sales = changed.ask(f"SELECT {SALES}")
    assert sales != [(0, None)]
    added = succeed(changed, "warehouse", "migrate")
    assert "added column dim_staff.department_manager" in added
    assert "added table dim_department" in added
    assert "up to date" in succeed(changed, "warehouse", "migrate")

    changed.change("UPDATE department SET manager = 'New Manager' WHERE department_id = 1")
    waiting = changed.totes("run", "--once")
    assert waiting.exit_code == 6
    assert "run totes replay" in waiting.output.replace("`", "")
    succeed(changed, "replay")

    changed.change("UPDATE staff SET department_id = 1 WHERE staff_id = 1")
    succeed(changed, "run", "--once")
    assert changed.ask("SELECT department_manager FROM dim_staff WHERE staff_id = 1") == [
        ("New Manager",)
    ]
    assert changed.ask("SELECT count(*) FROM dim_staff WHERE department_manager IS NULL") == [(0,)]
    assert changed.ask("SELECT count(*) > 1 FROM dim_department") == [(True,)]
    assert changed.ask(f"SELECT {SALES}") == sales
    assert "dim_department" in succeed(changed, "verify")
