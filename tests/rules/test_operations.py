"""The runbook for AWS agrees with Terraform, and its sums are correct."""

import json
import re
from pathlib import Path

import pytest

from totes.config import secrets as secret

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text()
TERRAFORM = ROOT / "terraform"
TIMES = "\N{MULTIPLICATION SIGN}"


def declared(kind: str) -> set[str]:
    """Return the names of the root module's variables or outputs."""
    return set(
        re.findall(rf'^{kind} "(\w+)"', (TERRAFORM / f"{kind}s.tf").read_text(), re.MULTILINE)
    )


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.+?)```", PAGE, re.DOTALL)


def test_every_output_that_the_page_reads_exists() -> None:
    used = set(re.findall(r"=terraform output (?:-raw )?([a-z]\w+)", PAGE))
    assert "warehouse_host" in used
    assert used <= declared("output")


def test_every_variable_that_the_page_sets_exists() -> None:
    names_in_page = set(re.findall(r"`(\w+) = |^(\w+) = (?:true|false)$", PAGE, re.MULTILINE))
    names = {name for pair in names_in_page for name in pair if name}
    assert {"flow_enabled", "source_access", "force_destroy"} <= names
    assert names <= declared("variable")


def test_the_grants_for_the_source_equal_those_in_running_md() -> None:
    running = (ROOT / "docs" / "running.md").read_text()
    [grants] = [block for block in blocks("sql") if "totes_ingest LOGIN" in block]
    assert grants in running


def test_no_password_is_in_a_statement_that_the_warehouse_logs() -> None:
    """RDS logs statements that create and alter roles, and CloudWatch stores the log."""
    warehouse = (TERRAFORM / "modules" / "warehouse" / "main.tf").read_text()
    assert re.search(r'name\s+= "log_statement"\n\s+value = "ddl"', warehouse)
    spoken = [block for block in blocks("sql") if "totes_ingest LOGIN" not in block]
    assert "make create-warehouse\n" in PAGE
    assert not [block for block in spoken if "PASSWORD '" in block or "CREATE ROLE" in block]


def test_the_secrets_that_the_page_writes_are_complete_and_valid() -> None:
    written = [
        json.loads(text) for text in re.findall(r"^\{\"host.+?\}$", PAGE, re.MULTILINE | re.DOTALL)
    ]
    assert [one["username"] for one in written] == ["totes_ingest"]
    for one in written:
        assert one.keys() <= secret._KEYWORD_OF_FIELD.keys()
        assert {secret._KEYWORD_OF_FIELD[name] for name in one} >= set(secret._REQUIRED_KEYWORDS)
        assert one["sslmode"] == "verify-full"
        assert (TERRAFORM.parent / one["sslrootcert"]).is_file()


def test_the_totals_of_the_costs_are_correct() -> None:
    table = PAGE.partition("## What it costs")[2].partition("\n## ")[0]
    lines = [line.strip("|") for line in table.splitlines() if line.startswith("| ")]
    rows = [[cell.strip() for cell in line.split("|")] for line in lines]
    total = next(row for row in rows if row[0] == "**total**")
    parts = rows[1 : rows.index(total)]
    assert len(parts) > 10
    for column in (2, 3, 4):
        amounts = [float(re.findall(r"[\d.]+$", row[column])[0]) for row in parts]
        assert f"**{sum(amounts):.0f}**" == total[column]


SUM = rf"([\d,.]+(?: {TIMES} [\d,.]+)+) → ([\d.]+)"


@pytest.mark.parametrize(("factors", "price"), re.findall(SUM, PAGE))
def test_each_product_in_the_costs_is_correct(factors: str, price: str) -> None:
    """The list price is for a second, a request, a GB or an hour."""
    units = 1.0
    for factor in factors.replace(",", "").split(TIMES):
        units *= float(factor)
    prices = (0.0000166667, 0.005 / 1000, 0.0004 / 1000, 0.023, 0.01)
    assert any(f"{units * each:.2f}" == price for each in prices)
