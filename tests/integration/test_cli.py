"""The command line: its help, its commands and what they print."""

import json
import os
import re
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from command import COMMAND, expect_error
from database import fetch_rows
from installation import Installation
from typer.main import get_command

from totes import __version__
from totes.cli import app
from totes.config.dsn import Dsn
from totes.embedded import servers

pytestmark = [pytest.mark.usefixtures("no_pauses"), pytest.mark.few(6)]

ROOT = Path(__file__).parents[2]


def parts(command: Any = None, name: str = "totes") -> Iterator[tuple[str, Any]]:
    """Yield every command with its full name."""
    command = command or get_command(app)
    yield name, command
    for part, inner in getattr(command, "commands", {}).items():
        yield from parts(inner, f"{name} {part}")


@pytest.mark.parametrize(("name", "command"), list(parts()))
def test_every_command_and_option_has_help(name: str, command: Any) -> None:
    assert command.help, name
    for parameter in command.params:
        assert parameter.help or parameter.name == "help", f"{name} {parameter.name}"


@pytest.mark.parametrize("page", ["commands.md", "settings.md"])
def test_the_generated_docs_are_current(page: str) -> None:
    make = runpy.run_path(str(ROOT / "tools" / "docs.py"))["PAGES"][page]
    assert (ROOT / "docs" / page).read_text() == make(), "make docs"


def test_help_imports_no_large_package() -> None:
    script = (
        "import sys, totes.cli\n"
        "try: totes.cli.app(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'psycopg', 'duckdb', 'pydantic', 'rich', 'boto3', 'sqlglot', 'tenacity'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.endswith("[]\n")


def test_python_m_totes_is_the_command() -> None:
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"terrific-totes {__version__}\n"


@pytest.mark.bare
def test_the_single_stages_load_a_warehouse_that_equals_totesys(installation: Installation) -> None:
    installation.add_orders()
    for arguments, message in (
        (["warehouse", "migrate"], "added table dim_date"),
        (["warehouse", "migrate"], "The warehouse is up to date."),
        (["ingest"], "ingest     batch 1"),
        (["ingest"], "ingest     nothing new at"),
        (["transform"], "transform  batch 1"),
        (["load"], "load       batch 1"),
        (["status"], "data to     2"),
        (["verify"], "The warehouse equals the source as of batch 1."),
    ):
        result = installation.totes(*arguments)
        assert result.exit_code == 0, result.output
        assert message in result.stdout


def test_run_once_creates_the_warehouse(installation: Installation) -> None:
    result = installation.add_orders().totes("run", "--once")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "ingest",
        "transform",
        "load",
    ]
    assert "nothing new" in installation.totes("run", "--once").stdout


@pytest.mark.parametrize("stage", ["transform", "load"])
def test_a_stage_without_work_does_not_import_duckdb(
    installation: Installation, stage: str
) -> None:
    installation.add_orders(5).run()
    script = (
        "import sys, totes.cli\n"
        f"try: totes.cli.app(['{stage}'])\n"
        "except SystemExit as exit: print(exit.code)\n"
        "print('duckdb' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | installation.environment,
    )
    assert done.stdout == "0\nFalse\n"


def test_status_and_verify_print_json(installation: Installation) -> None:
    installation.add_orders().run()
    assert json.loads(installation.totes("status", "--json").stdout)["stages"][2]["batch"] == 1
    assert json.loads(installation.totes("verify", "--json").stdout)["equal"] is True


_STEP_KEYS = {
    *("stage", "batch", "rows", "at", "quarantined", "unreadable"),
    *("size_bytes", "scanned", "gap"),
}
JSON_KEYS = {
    "check": {"ok", "findings"},
    "settings": {"name", "value", "default", "origin", "meaning"},
    "status": {
        *("now", "data_to", "checked_at", "first_loaded_at", "loaded_at", "lag_seconds"),
        *("ahead_seconds", "verified", "stages", "captured", "unreadable", "quarantine"),
        *("rates_day", "schema_changes", "capture", "gap", "unfinished"),
    },
    "verify": {"equal", "batch", "tables"},
    "quarantine list": {"rows", "table", "column", "reason"},
    "quarantine show": {"batch", "table", "key", "column", "value", "reason"},
    "warehouse migrate": {"applied"},
    "gc": {"store", "key", "size_bytes", "modified_at", "age_seconds", "removed"},
    "erase design 1 --columns file_name": {"batches", "versions"},
    "run --once": _STEP_KEYS,
    "ingest": _STEP_KEYS,
    "publish compact": {"table", "files_before", "files_after"},
    "publish expire": {"table", "snapshots", "files", "bytes"},
    "replay": _STEP_KEYS,
    "publish": _STEP_KEYS,
    "quarantine release": {"batch", "tried", "still_rejected"},
}
"""The keys that docs/running.md promises, in an order in which each command has output."""


def test_the_json_of_every_command_has_the_documented_keys(installation: Installation) -> None:
    installation.add_orders().run()
    installation.change(
        "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 7"
    )
    installation.run()
    catalogue = f"sqlite:///{installation.folder}/iceberg.db"
    installation = installation.with_settings(
        iceberg_catalog=catalogue, iceberg_url=str(installation.folder / "iceberg")
    )
    (installation.ingestion / ".incoming" / "left").write_text("")
    for command, keys in JSON_KEYS.items():
        into = (
            ["--into", str(installation.folder / "erased")] if command.startswith("erase") else []
        )
        result = installation.totes(*command.split(), *into, "--json")
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        found = json.loads(lines[-1] if "stage" in keys else result.stdout)
        assert set(found[0] if isinstance(found, list) else found) == keys, command
    documented = (ROOT / "docs" / "running.md").read_text().split("\n## ")
    [section] = [text for text in documented if text.startswith("Answers for programs")]
    for command, keys in JSON_KEYS.items():
        [row] = [line for line in section.splitlines() if f"`{short(command)}`" in line]
        assert {key for key in keys if f"`{key}`" not in row} == set(), command


def short(command: str) -> str:
    """Return the command without arguments and options."""
    return {"run --once": "run"}.get(command, command.partition(" design")[0])


def test_every_command_that_reports_has_json() -> None:
    without = {"demo", "simulate", "dashboard"}
    for name, command in parts():
        if not hasattr(command, "commands") and name.removeprefix("totes ") not in without:
            assert any("--json" in parameter.opts for parameter in command.params), name


def test_json_hides_secrets_and_has_null_for_unset_settings(
    installation: Installation,
) -> None:
    secret = installation.with_settings(
        source_dsn="host=h user=u password=sesame", alert_command="tell sesame"
    )
    shown = secret.totes("settings", "--json").stdout
    assert "sesame" not in shown
    values = {one["name"]: one["value"] for one in json.loads(shown)}
    assert values["TOTES_SOURCE_DSN"] == "u@h/"
    assert values["TOTES_ALERT_TOPIC"] is None


def test_json_of_a_check_that_fails_exits_with_1(installation: Installation) -> None:
    installation.change("REVOKE SELECT ON staff FROM totes_ingest")
    result = installation.totes("check", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["ok"] is False
    [failed] = [one for one in found["findings"] if not one["ok"]]
    assert failed["advice"] == 'GRANT SELECT ON "public"."staff" TO "totes_ingest";'


def test_json_of_a_replay_elsewhere_is_a_line_for_each_step(
    installation: Installation, copied: Callable[[Dsn], Dsn]
) -> None:
    empty = copied(installation.warehouse)
    installation.add_orders().run()
    result = installation.totes("replay", "--into", empty.reveal(), "--json")
    assert result.exit_code == 0, result.output
    steps = [json.loads(line)["stage"] for line in result.stdout.splitlines()]
    assert steps == ["transform", "load"]


def test_status_reports_the_last_verification_and_its_result(installation: Installation) -> None:
    installation.add_orders().run()
    assert "verified    never" in installation.totes("status").stdout
    assert json.loads(installation.totes("status", "--json").stdout)["verified"] is None
    installation.totes("verify")
    assert re.search(
        r"verified    \d{4}-.* UTC, batch 1: equal", installation.totes("status").stdout
    )
    installation.change_warehouse("DELETE FROM fact_payment WHERE payment_id = 3")
    installation.totes("verify")
    assert re.search(
        r"verified    \d{4}-.* UTC, batch 1: diff", installation.totes("status").stdout
    )
    verified = json.loads(installation.totes("status", "--json").stdout)["verified"]
    assert (verified["batch"], verified["equal"]) == (1, False)
    assert datetime.fromisoformat(verified["verified_at"]).tzinfo


def test_status_shows_ages_changes_and_quarantine(installation: Installation) -> None:
    assert "data to     never" in installation.totes("status").stdout
    installation.add_orders().run()
    installation.change(
        "ALTER TABLE staff ADD badge text; DELETE FROM payment WHERE payment_id = 1;"
    )
    installation.change(
        "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 7"
    )
    installation.run()
    message = installation.totes("status").stdout
    assert re.search(r"payment +0 +1", message)
    assert "Since batch 2, staff: badge added (text)" in message
    assert "1  fact_sales_order:" in message
    installation.change_warehouse("UPDATE totes.checks SET checked_at = now() + interval '2 hours'")
    assert "ahead of the warehouse's clock" in installation.totes("status").stdout


def test_verify_lists_differences_and_exits_with_1(installation: Installation) -> None:
    installation.add_orders().run()
    installation.change_warehouse(
        "UPDATE dim_design SET file_name = file_name || '!' WHERE design_id < 15"
    )
    installation.change_warehouse("DELETE FROM fact_payment WHERE payment_id = 3")
    result = installation.totes("verify")
    assert result.exit_code == 1
    assert "dim_design 1: different in file_name" in result.stdout
    assert "fact_payment 3: missing" in result.stdout
    assert "dim_design: 4 more (--json names them)" in result.stdout
    assert "The warehouse differs from the source as of batch 1." in result.stdout


def test_check_exits_with_1_if_something_is_missing(installation: Installation) -> None:
    assert installation.totes("check").exit_code == 0
    installation.change("REVOKE SELECT ON staff FROM totes_ingest")
    result = installation.totes("check")
    assert result.exit_code == 1
    assert 'GRANT SELECT ON "public"."staff" TO "totes_ingest";' in result.stdout


@pytest.mark.bare
@pytest.mark.parametrize("command", ["list", "show", "release"])
def test_a_warehouse_without_tables_has_no_quarantine_yet(
    installation: Installation, command: str
) -> None:
    expect_error(installation, 5, "run `totes run --once`", "quarantine", command)


def test_rejected_rows_are_listed_shown_and_retried(installation: Installation) -> None:
    installation.add_orders().run()
    assert "Quarantine is empty" in installation.totes("quarantine", "list").stdout
    assert "Quarantine is empty" in installation.totes("quarantine", "show").stdout
    assert "nothing to release" in installation.totes("quarantine", "release").stdout
    expect_error(installation, 2, "There is no star table staff.", "quarantine", "show", "staff")
    installation.change(
        "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 7"
    )
    result = installation.with_settings(alert_command="false").totes("run", "--once")
    assert result.exit_code == 0
    assert "rows quarantined: 1 of fact_sales_order" in result.stderr
    assert "fact_sales_order" in installation.totes("quarantine", "list").stdout
    shown = installation.totes("quarantine", "show", "fact_sales_order").stdout
    assert "'soon'" in shown
    assert (
        "No row of fact_payment is in quarantine"
        in installation.totes("quarantine", "show", "fact_payment").stdout
    )
    released = installation.totes("quarantine", "release")
    assert released.stdout.startswith(
        "Batch 3 retried the rejected rows of batch 2: some are still"
    )
    assert installation.totes("verify").exit_code == 0
    assert installation.totes("quarantine", "release", "9").exit_code == 2


def test_settings_are_listed_without_secrets(installation: Installation) -> None:
    shown = (
        installation.with_settings(source_dsn="host=h user=u password=sesame")
        .totes("settings")
        .stdout
    )
    assert "sesame" not in shown
    assert re.search(r"^TOTES_SOURCE_DSN +u@h/  \(environment\)$", shown, re.MULTILINE)


def test_simulate_fills_and_changes_totesys(installation: Installation, tmp_path: Path) -> None:
    into = ["--into", installation.owner.reveal()]
    filled = installation.totes("simulate", "--orders", "30", *into)
    assert filled.stdout.startswith("30 sales orders")
    newest = 'SELECT max(created_at) FROM "transaction"'
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    ((ended,),) = fetch_rows(installation.source, newest)
    assert timedelta() <= yesterday - ended.date() <= timedelta(days=2)  # a weekend
    assert ended.hour == 18
    log = tmp_path / "log"
    driving = ["--rate", "0", "--for", "200ms", "--mix", "hostile", "--log", str(log)]
    driven = installation.totes("simulate", *driving, *into)
    assert driven.exit_code == 0, driven.output
    assert log.read_text()
    assert "sale" in driven.stdout
    ((now,),) = fetch_rows(installation.source, newest)
    assert ended < now <= datetime.now(UTC).replace(tzinfo=None)


def test_replay_rebuilds_everything(installation: Installation) -> None:
    installation.add_orders().run()
    result = installation.totes("replay")
    assert result.exit_code == 0, result.output
    assert installation.totes("verify").exit_code == 0


def test_embedded_servers_are_shared_and_status_creates_none(
    home: Path, installation: Installation
) -> None:
    embedded = installation.with_settings(home=str(home), source_dsn="", warehouse_dsn="")
    result = embedded.totes("status")
    assert result.exit_code == 5
    assert "run `totes demo`" in result.stderr
    assert not home.exists()
    filled = embedded.totes("simulate", "--orders", "5")
    assert filled.exit_code == 0, filled.output
    assert embedded.totes("run", "--once").exit_code == 0
    assert embedded.totes("verify").exit_code == 0


@pytest.mark.parametrize("which", ["source", "warehouse"])
def test_without_the_embedded_postgresql_the_missing_setting_is_named(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setattr(servers, "find_spec", lambda _: None)
    setting = f"TOTES_{which.upper()}_DSN"
    message = (
        f"{setting} is not set and no embedded PostgreSQL is installed: "
        "set it, or `pip install 'terrific-totes[embedded]'`."
    )
    lacking = installation.with_settings(**{f"{which}_dsn": ""})
    for command in (["run", "--once"], ["verify"]):
        expect_error(lacking, 2, message, *command)
    checked = lacking.totes("check")
    assert checked.exit_code == 1
    assert message in checked.stdout
