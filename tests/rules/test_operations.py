"""The runbook for AWS agrees with Terraform, and its sums are correct."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path

import pytest

from totes.aws.spark_jobs import MAX_ATTEMPTS, PYTHON, TIMEOUT_MINUTES
from totes.config import secrets as secret
from totes.config.settings import Settings
from totes.spark.attempt import new_attempt_name
from totes.spark.session import VERSION

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


def test_what_terraform_and_the_docs_say_of_spark_is_what_the_program_does() -> None:
    variables = (TERRAFORM / "variables.tf").read_text()
    release = (TERRAFORM / "modules" / "spark" / "variables.tf").read_text()
    mails = (TERRAFORM / "modules" / "watch" / "mails.tf").read_text()
    [attempts] = re.findall(r'attempts = "(.+)"', (TERRAFORM / "main.tf").read_text())
    key = f"generation=1/fact_payment/{new_attempt_name()}/totes_batch=1/part-0.parquet"
    assert fnmatch(key, attempts)
    assert not fnmatch("generation=1/fact_payment/totes_date=2026-11-22/1.parquet", attempts)

    [hours] = re.findall(r"spark.slow_hours < (\d+)", variables)
    assert int(hours) * 60 == TIMEOUT_MINUTES
    assert MAX_ATTEMPTS == 1 + 2
    assert "A failed job is started again twice" in mails
    assert "is started again, at most twice" in PAGE
    assert "After a new release it is started up to three times again" in PAGE
    [size] = re.findall(r'min_size = optional\(string, "(\d+)GB"\)', variables)
    assert int(size) * 1000 == Settings.model_fields["spark_min_size"].default
    assert f'min_size = "{size}GB"' in PAGE

    [(label, parts)] = re.findall(r'default +=  *"(emr-spark-[\d.]+)" # (.+?);', release)
    assert f"`{label}` ({parts})" in PAGE
    spark, _, python = (part.split()[1] for part in parts.split(", "))
    assert f"pyspark=={spark}" in (ROOT / "pyproject.toml").read_text()
    assert spark.startswith(VERSION)
    assert f"python{python}" == PYTHON
