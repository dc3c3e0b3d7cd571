"""The command line: what people type, what they read, and the exit codes that scripts read."""

import json
import os
import re
import runpy
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import mkdtemp
from threading import Event as Flag
from typing import Any

import psycopg
import pytest
import screen
from installation import Installation, at
from psutil import process_iter
from rich.console import Console
from rich.progress import Progress as Bars
from typer.main import get_command
from typer.testing import CliRunner

from conftest import ClusterFactory
from totes import __version__
from totes.cli import app, main, terminal
from totes.cli.verify import show_verdict
from totes.config.resources import Places
from totes.config.settings import Dsn, Settings
from totes.dashboard.metrics.pipeline import freshness
from totes.dashboard.reading import open_reading
from totes.demo.answers import Answers, Country, Version
from totes.demo.dashboard import dashboard
from totes.demo.run import _Show
from totes.demo.run import run as show
from totes.demo.simulator import Event, Kind
from totes.demo.view import Scene, picture
from totes.embedded import servers
from totes.embedded.servers import prepare_source
from totes.stages.runner import STAGES, Done, steps

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "totes"]


def parts(command: Any = None, name: str = "totes") -> Iterator[tuple[str, Any]]:
    """Every command and its full name."""
    command = command or get_command(app)
    yield name, command
    for part, inner in getattr(command, "commands", {}).items():
        yield from parts(inner, f"{name} {part}")


def start(installation: Installation, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=os.environ | installation.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def execute(dsn: Any, statement: str) -> None:
    with psycopg.connect(dsn.reveal(), autocommit=True) as connection:
        connection.execute(statement.encode())


@pytest.fixture
def home(scratch: Path) -> Iterator[Path]:
    """For embedded servers; its name needs quotes.

    Not in tmp_path: any pytest that starts bars others from that.
    """
    folder = Path(mkdtemp(dir=scratch)) / "a home's"
    yield folder
    shutil.rmtree(folder.parent)


# What is written about it


@pytest.mark.parametrize(("name", "command"), list(parts()))
def test_every_command_and_option_has_help(name: str, command: Any) -> None:
    assert command.help, name
    for parameter in command.params:
        assert parameter.help or parameter.name == "help", f"{name} {parameter.name}"


@pytest.mark.parametrize("page", ["commands.md", "settings.md"])
def test_the_docs_are_what_the_program_says(page: str) -> None:
    make = runpy.run_path(str(ROOT / "tools" / "docs.py"))["PAGES"][page]
    assert (ROOT / "docs" / page).read_text() == make(), "make docs"


def test_help_loads_nothing_heavy() -> None:
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


def test_the_module_is_the_command() -> None:
    done = subprocess.run([*COMMAND, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"terrific-totes {__version__}\n"


# What it does


@pytest.mark.bare
def test_stage_by_stage_to_a_warehouse_that_equals_totesys(installation: Installation) -> None:
    installation.filled()
    for arguments, said in (
        (["warehouse", "migrate"], "added table dim_date"),
        (["warehouse", "migrate"], "The warehouse is up to date."),
        (["ingest"], "ingest     batch 1"),
        (["ingest"], "ingest     nothing new at"),
        (["transform"], "transform  batch 1"),
        (["load"], "load       batch 1"),
        (["status"], "data to     2"),
        (["verify"], "The warehouse equals totesys as of batch 1."),
    ):
        result = installation.totes(*arguments)
        assert result.exit_code == 0, result.output
        assert said in result.stdout


def test_once_makes_the_warehouse_by_itself(installation: Installation) -> None:
    result = installation.filled().totes("run", "--once")
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        "ingest",
        "transform",
        "load",
    ]
    assert "nothing new" in installation.totes("run", "--once").stdout


def test_status_and_verify_print_json(installation: Installation) -> None:
    installation.filled().run()
    assert json.loads(installation.totes("status", "--json").stdout)["stages"][2]["batch"] == 1
    assert json.loads(installation.totes("verify", "--json").stdout)["equal"] is True


JSON_KEYS = {
    "check": {"ok", "findings"},
    "settings": {"name", "value", "default", "origin", "meaning"},
    "status": {
        *("now", "data_to", "checked_at", "loaded_at", "lag_seconds", "ahead_seconds"),
        *("verified", "stages", "carried", "unreadable", "quarantine", "schema_changes"),
    },
    "verify": {"equal", "batch", "tables"},
    "quarantine list": {"rows", "table", "column", "reason"},
    "quarantine show": {"batch", "table", "key", "column", "value", "reason"},
    "warehouse migrate": {"applied"},
    "gc": {"store", "key", "size_bytes", "modified_at", "age_seconds", "removed"},
    "erase design 1 --columns file_name": {"batches", "versions"},
    "run --once": {"stage", "batch", "rows", "at", "refused", "size_bytes"},
    "ingest": {"stage", "batch", "rows", "at", "refused", "size_bytes"},
    "replay": {"stage", "batch", "rows", "at", "refused", "size_bytes"},
    "quarantine release": {"batch", "tried", "refused"},
}
"""What docs/running.md promises, in an order in which each has something to say."""


def test_the_json_of_every_command_has_the_documented_keys(installation: Installation) -> None:
    installation.filled().run()
    installation.change(
        "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 7"
    )
    installation.run()
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
    """Without arguments and options."""
    return {"run --once": "run"}.get(command, command.partition(" design")[0])


def test_every_command_that_reports_has_json() -> None:
    without = {"demo", "simulate", "dashboard"}
    for name, command in parts():
        if not hasattr(command, "commands") and name.removeprefix("totes ") not in without:
            assert any("--json" in parameter.opts for parameter in command.params), name


def test_json_hides_secrets_and_knows_no_value_where_none_is_set(
    installation: Installation,
) -> None:
    secret = installation.having(
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
    installation.filled().run()
    result = installation.totes("replay", "--into", empty.reveal(), "--json")
    assert result.exit_code == 0, result.output
    steps = [json.loads(line)["stage"] for line in result.stdout.splitlines()]
    assert steps == ["transform", "load"]


def test_status_reports_the_last_verification_and_its_result(installation: Installation) -> None:
    installation.filled().run()
    assert "verified    never" in installation.totes("status").stdout
    assert json.loads(installation.totes("status", "--json").stdout)["verified"] is None
    installation.totes("verify")
    assert re.search(
        r"verified    \d{4}-.* UTC, batch 1: equal", installation.totes("status").stdout
    )
    installation.ask("DELETE FROM fact_payment WHERE payment_id = 3")
    installation.totes("verify")
    assert re.search(
        r"verified    \d{4}-.* UTC, batch 1: it diff", installation.totes("status").stdout
    )
    verified = json.loads(installation.totes("status", "--json").stdout)["verified"]
    assert (verified["batch"], verified["equal"]) == (1, False)
    assert datetime.fromisoformat(verified["verified_at"]).tzinfo


def test_status_tells_what_people_need_to_know(installation: Installation) -> None:
    assert "data to     never" in installation.totes("status").stdout
    installation.filled().run()
    installation.change(
        "ALTER TABLE staff ADD badge text; DELETE FROM payment WHERE payment_id = 1;"
    )
    installation.change(
        "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 7"
    )
    installation.run()
    said = installation.totes("status").stdout
    assert re.search(r"payment +0 +1", said)
    assert "Since batch 2, staff: badge added (text)" in said
    assert "1  fact_sales_order:" in said
    installation.ask("UPDATE totes.checks SET checked_at = now() + interval '2 hours'")
    assert "ahead of the warehouse's clock" in installation.totes("status").stdout


def test_verify_names_what_differs_and_exits_with_1(installation: Installation) -> None:
    installation.filled().run()
    installation.ask("UPDATE dim_design SET file_name = file_name || '!' WHERE design_id < 15")
    installation.ask("DELETE FROM fact_payment WHERE payment_id = 3")
    result = installation.totes("verify")
    assert result.exit_code == 1
    assert "dim_design 1: different in file_name" in result.stdout
    assert "fact_payment 3: missing" in result.stdout
    assert "dim_design: 4 more (--json names them)" in result.stdout
    assert "The warehouse differs from totesys as of batch 1." in result.stdout


def test_check_exits_with_1_where_something_is_missing(installation: Installation) -> None:
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
    refuse(installation, 5, "`totes run --once` makes them", "quarantine", command)


def test_refused_rows_are_listed_shown_and_tried_again(installation: Installation) -> None:
    installation.filled().run()
    assert "Quarantine is empty" in installation.totes("quarantine", "list").stdout
    assert "Quarantine is empty" in installation.totes("quarantine", "show").stdout
    assert "nothing to release" in installation.totes("quarantine", "release").stdout
    refuse(installation, 2, "There is no star table staff: ", "quarantine", "show", "staff")
    installation.change(
        "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 7"
    )
    told = installation.having(alert_command="false").totes("run", "--once")
    assert told.exit_code == 0
    assert "rows set aside, 1 of fact_sales_order" in told.stderr
    assert "fact_sales_order" in installation.totes("quarantine", "list").stdout
    shown = installation.totes("quarantine", "show", "fact_sales_order").stdout
    assert "'soon'" in shown
    assert (
        "No row of fact_payment waits"
        in installation.totes("quarantine", "show", "fact_payment").stdout
    )
    released = installation.totes("quarantine", "release")
    assert released.stdout.startswith("Batch 3 tried the refused rows of batch 2: some are refused")
    assert installation.totes("verify").exit_code == 0
    assert installation.totes("quarantine", "release", "9").exit_code == 2


def test_settings_are_listed_without_secrets(installation: Installation) -> None:
    shown = installation.having(source_dsn="host=h user=u password=sesame").totes("settings").stdout
    assert "sesame" not in shown
    assert "TOTES_SOURCE_DSN      u@h/  (environment)" in shown


def test_simulate_fills_and_drives(installation: Installation, tmp_path: Path) -> None:
    into = ["--into", installation.owner.reveal()]
    filled = installation.totes("simulate", "--orders", "30", *into)
    assert filled.stdout.startswith("30 sales orders")
    log = tmp_path / "log"
    driving = ["--rate", "0", "--for", "200ms", "--mix", "hostile", "--log", str(log)]
    driven = installation.totes("simulate", *driving, *into)
    assert driven.exit_code == 0, driven.output
    assert log.read_text()
    assert "sale" in driven.stdout


def test_replay_builds_it_all_again(installation: Installation) -> None:
    installation.filled().run()
    result = installation.totes("replay")
    assert result.exit_code == 0, result.output
    assert installation.totes("verify").exit_code == 0


def test_the_embedded_parts_are_shared_and_looking_makes_none(
    home: Path, installation: Installation
) -> None:
    embedded = installation.having(home=str(home), source_dsn="", warehouse_dsn="")
    looked = embedded.totes("status")
    assert looked.exit_code == 5
    assert "begin with `totes demo`" in looked.stderr
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
    lacking = installation.having(**{f"{which}_dsn": ""})
    for command in (["run", "--once"], ["verify"]):
        refuse(lacking, 2, message, *command)
    checked = lacking.totes("check")
    assert checked.exit_code == 1
    assert message in checked.stdout


# How it stops


def hold_the_loader(installation: Installation) -> psycopg.Connection[Any]:
    """Let nothing be loaded until this connection is closed."""
    connection = psycopg.connect(installation.warehouse.reveal(), autocommit=True)
    connection.execute("SELECT pg_advisory_lock(hashtextextended('totes.load', 0))")
    return connection


def wait_for_the_loader(connection: psycopg.Connection[Any]) -> None:
    waiting = "SELECT FROM pg_locks WHERE NOT granted AND locktype = 'advisory'"
    while connection.execute(waiting).fetchone() is None:
        pass


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_finishes_the_batch_in_hand_and_stops(
    installation: Installation, number: signal.Signals
) -> None:
    installation.filled()
    with start(installation, "run", "--every", "100ms") as running:
        with hold_the_loader(installation) as held:
            wait_for_the_loader(held)
            running.send_signal(number)
        said, complained = running.communicate(timeout=60)
    assert running.returncode == 0, complained
    assert "load       batch 1" in said
    assert installation.ask("SELECT max(batch) FROM totes.batches") == [(1,)]


def test_a_second_ctrl_c_stops_at_once(installation: Installation) -> None:
    installation.filled()
    with start(installation, "run") as running, hold_the_loader(installation) as held:
        wait_for_the_loader(held)
        running.send_signal(signal.SIGINT)
        assert running.stderr is not None
        while "ask again to stop at once" not in running.stderr.readline():
            pass
        running.send_signal(signal.SIGINT)
        running.wait(60)
    assert running.returncode == 130
    assert installation.ask("SELECT max(batch) FROM totes.batches") == [(None,)]


def test_sigterm_ends_other_commands_properly(installation: Installation) -> None:
    installation.filled()
    with start(installation, "run", "--once") as running, hold_the_loader(installation) as held:
        wait_for_the_loader(held)
        running.terminate()
        running.wait(60)
    assert running.returncode == 143


def test_a_reader_that_leaves_is_no_reason_to_complain(installation: Installation) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "settings"],
        env=os.environ | installation.environment,
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.stderr == ""


@pytest.mark.parametrize("arguments", [["settings"], ["settings", "--json"], ["--help"]])
def test_an_output_on_a_full_disk_is_one_line(
    installation: Installation, arguments: list[str]
) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments],
            env=os.environ | installation.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == "totes: Standard output can't be written: No space left on device.\n"


def test_characters_that_the_output_encoding_lacks_end_no_command(
    installation: Installation,
) -> None:
    done = subprocess.run(
        [*COMMAND, "settings"],
        env=os.environ
        | installation.having(home="/caf\udce9/\u20ac").environment
        | {"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"/caf\\udce9/\\u20ac  (environment)" in done.stdout


# Bad input: one line, the right exit code, and nothing changed


def refuse(installation: Installation, code: int, said: str, *arguments: str) -> None:
    before = installation.state()
    result = installation.totes(*(arguments or ("run", "--once")))
    assert result.exit_code == code, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("totes: ")]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in result.output
    assert installation.state() == before


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"source_dsn": "nonsense"}, 2, "Setting TOTES_SOURCE_DSN"),
        ({"every": "soon"}, 2, "Setting TOTES_EVERY"),
        ({"ingestion_url": "ftp://host/x"}, 2, "The URL of a store must be"),
        ({"source_dsn": "host=/nowhere dbname=x"}, 3, "The source"),
        ({"source_schema": "nowhere"}, 3, "has no tables to ingest"),
        ({"exclude_tables": "staff", "source_schema": "pg_toast"}, 3, "has no tables to ingest"),
    ],
)
def test_wrong_settings_are_one_line(
    installation: Installation, settings: dict[str, str], code: int, said: str
) -> None:
    refuse(installation.having(**settings), code, said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--once", "--every", "5s"], "exclude each other"),
        (["run", "--every", "soon"], "Option --every must be a duration"),
        (["replay", "--into", "nonsense"], "Option --into is not a libpq"),
        (["simulate"], "TOTES_SOURCE_DSN is only ever read"),
        (["demo", "--for", "1s"], "unset TOTES_SOURCE_DSN"),
    ],
)
def test_wrong_usage_is_one_line(
    installation: Installation, arguments: list[str], said: str
) -> None:
    refuse(installation, 2, said, *arguments)


def test_a_source_that_lets_nobody_in_says_which_right_is_missing(
    installation: Installation,
) -> None:
    closed = installation.warehouse.replace(user="totes_ingest").reveal()
    refuse(installation.having(source_dsn=closed), 3, "GRANT CONNECT on it to this user.")


def test_a_source_that_does_not_answer_is_said_once(installation: Installation) -> None:
    said = "Connection refused: check host and port, and start it"
    refuse(installation.having(source_dsn="host=127.0.0.1 port=1 dbname=x"), 3, said)


@pytest.mark.parametrize("store", ["ingestion", "processed"])
def test_the_demo_does_not_touch_a_lake_that_is_named(
    installation: Installation, home: Path, store: str
) -> None:
    other = "processed" if store == "ingestion" else "ingestion"
    embedded = {"home": str(home), "source_dsn": "", "warehouse_dsn": "", f"{other}_url": ""}
    said = f"unset TOTES_{store.upper()}_URL."
    refuse(installation.having(**embedded), 2, said, "demo", "--for", "1s")
    assert not home.exists()


@pytest.mark.parametrize(
    "arguments", [["nonsense"], ["run", "--nonsense"], ["replay", "--to", "x"]]
)
def test_what_typer_refuses_exits_with_2(installation: Installation, arguments: list[str]) -> None:
    assert installation.totes(*arguments).exit_code == 2


def test_a_missing_database_is_named(installation: Installation) -> None:
    nowhere = installation.source.replace(dbname="nowhere").reveal()
    refuse(installation.having(source_dsn=nowhere), 3, 'database "nowhere" does not exist')
    installation.filled().totes("ingest")
    refuse(
        installation.having(warehouse_dsn=nowhere), 5, 'database "nowhere" does not exist', "load"
    )


def test_a_wrong_password_is_one_line_that_does_not_repeat_it(
    installation: Installation, cluster: ClusterFactory
) -> None:
    server = cluster()
    source = prepare_source(server.dsn)
    execute(server.dsn, "ALTER ROLE totes_ingest PASSWORD 'right'")
    (server.data / "pg_hba.conf").write_text("local all all scram-sha-256\n")
    server.run("pg_ctl", "reload", "--pgdata", str(server.data))
    wrong = source.reader.replace(password="sesame").reveal()
    refuse(installation.having(source_dsn=wrong), 3, "password authentication failed")
    assert "sesame" not in installation.having(source_dsn=wrong).totes("check").output


def test_a_missing_privilege_comes_with_its_grant(installation: Installation) -> None:
    installation.change("REVOKE SELECT ON staff FROM totes_ingest")
    refuse(installation, 3, 'GRANT SELECT ON "public"."staff" TO "totes_ingest";')


def test_another_source_than_last_time_is_refused(
    installation: Installation, cluster: ClusterFactory
) -> None:
    installation.filled().run()
    other = prepare_source(cluster().dsn).reader.reveal()
    refuse(installation.having(source_dsn=other), 3, "--accept-new-source")


def test_the_source_is_not_written_to_even_if_it_is_named_as_the_warehouse(
    installation: Installation,
) -> None:
    mistaken = installation.filled().having(warehouse_dsn=installation.owner.reveal())
    assert mistaken.totes("run", "--once").exit_code == 5
    refuse(mistaken, 5, "only ever read")
    refuse(mistaken, 5, "only ever read", "warehouse", "migrate")
    refuse(installation, 5, "only ever read", "replay", "--into", installation.owner.reveal())
    assert not is_warehouse(installation.owner)


def test_before_the_first_capture_no_database_is_made_a_warehouse(
    installation: Installation,
) -> None:
    """It may be totesys: which one that is, the lake doesn't know yet."""
    assert list(steps(replace(installation.pipeline, warehouse=installation.owner), "load")) == []
    assert not is_warehouse(installation.owner)


def is_warehouse(dsn: Dsn) -> bool:
    with psycopg.connect(dsn.reveal()) as connection:
        made = connection.execute("SELECT to_regclass('fact_payment'), to_regnamespace('totes')")
        return made.fetchone() != (None, None)


@pytest.mark.bare
def test_verify_captures_nothing_before_the_warehouse_is_there(installation: Installation) -> None:
    installation.filled()
    refuse(installation, 5, "totes run --once", "verify")
    assert not installation.ingestion.exists()


def test_a_lake_that_cannot_be_written_is_refused(
    installation: Installation, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    refuse(
        installation.filled().having(ingestion_url=str(tmp_path / "file" / "lake")), 4, "can't be"
    )


@pytest.mark.parametrize("command", [["run", "--once"], ["ingest"]])
def test_without_a_temporary_folder_it_says_which_setting_helps(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    nowhere = [str(installation.folder / "missing")]
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: nowhere)
    refuse(installation.filled(), 4, "let TMPDIR name a folder", *command)
    assert installation.totes("status").exit_code == 0


def test_a_folder_that_cannot_be_found_is_named(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "loop").symlink_to("loop")
    refuse(installation.having(ingestion_url=str(tmp_path / "loop")), 2, "loop can't be found")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    refuse(
        installation.having(ingestion_url="lake"), 2, "lake can't be found (the working directory"
    )
    embedded = {"home": ".totes", "source_dsn": ""}
    refuse(installation.having(**embedded), 3, "The folder .totes/source can't be found")
    monkeypatch.chdir(tmp_path)


def test_a_manifest_of_a_newer_format_is_refused(installation: Installation) -> None:
    installation.filled().run()
    path = installation.ingestion / "batches" / f"{2:012d}.json"
    path.write_text('{"format": 99}')
    refuse(installation, 4, "upgrade terrific-totes", "transform")


def damage(path: Path) -> None:
    path.chmod(0o644)
    path.write_bytes(b"\0" * path.stat().st_size)


@pytest.mark.parametrize("harm", [damage, Path.unlink])
@pytest.mark.parametrize(("stage", "store"), [("transform", "ingestion"), ("load", "processed")])
def test_a_damaged_or_missing_file_is_named_and_nothing_of_its_batch_is_loaded(
    installation: Installation, harm: Callable[[Path], None], stage: str, store: str
) -> None:
    installation.filled().run()
    installation.change("UPDATE design SET file_name = 'new' WHERE design_id = 1")
    installation.totes("ingest")
    if stage == "load":
        installation.totes("transform")
    [path] = [
        path
        for path in (installation.folder / store).rglob(f"*design/year=*/**/{2:012d}-*")
        if "keys" not in path.parts and "repeats" not in path.parts
    ]
    harm(path)
    refuse(installation, 4, path.name, stage)


def test_a_warehouse_that_was_altered_is_refused(installation: Installation) -> None:
    installation.filled().run()
    installation.ask("ALTER TABLE dim_staff ALTER COLUMN location SET NOT NULL")
    refuse(installation, 5, "Table dim_staff of the warehouse has location", "load")


def test_what_nobody_foresaw_is_one_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> Settings:
        raise KeyError("oh")

    monkeypatch.setattr("totes.config.settings.load_settings", fail)
    monkeypatch.setattr(sys, "argv", ["totes", "settings"])
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 70
    assert capsys.readouterr().err.startswith("totes: KeyError: 'oh' (unexpected error")


def test_debug_shows_where(installation: Installation) -> None:
    result = installation.having(every="soon").totes("--debug", "settings")
    assert result.exit_code == 2
    assert "Traceback" in result.stderr


# What is shown meanwhile


def test_long_work_says_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines = terminal.LogLines()
    with caplog.at_level("INFO", "totes"):
        lines.start("load batch 1", 2_000_000)
        lines.advance(1_000)
        assert not caplog.messages
        monkeypatch.setattr(terminal, "LOG_EVERY_SECONDS", 0.0)
        lines.advance(500_000)
        lines.start("ingest")
        lines.advance(7)
    assert caplog.messages == ["load batch 1: 501,000 of 2,000,000 rows", "ingest: 7 rows"]


def test_on_a_terminal_there_is_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(terminal, "err", lambda: screen)
    with terminal.progress() as bar:
        bar.start("load batch 1", 10)
        bar.advance(4)
        assert isinstance(bar, terminal.Bar)
        assert isinstance(bar._bars, Bars)
        [task] = bar._bars.tasks
        assert (task.description, task.completed, task.total) == ("load batch 1", 4, 10)
        bar.start("ingest")
        [task] = bar._bars.tasks
        assert (task.description, task.completed, task.total) == ("ingest", 0, None)


@pytest.mark.parametrize("command", [["run", "--once"], ["replay"]])
def test_on_a_terminal_lines_stand_above_the_bar_and_nothing_is_left_of_it(
    installation: Installation, command: list[str]
) -> None:
    installation.filled()
    if command == ["replay"]:
        installation.run()
    shown = screen.run([*COMMAND, *command], os.environ | installation.environment, columns=100)
    assert "\x1b[2K" in shown.written, "a bar was drawn"
    assert shown.exit_code == 0
    *lines, prompt = shown.lines
    assert prompt == ""
    stages = {"run": ["ingest", "transform", "load"], "replay": ["transform", "load"]}[command[0]]
    steps = [line for line in lines if not line.startswith("_prisma_migrations is left out")]
    for stage, line in zip(stages, steps, strict=True):
        assert re.fullmatch(rf"{stage} +batch 1 +[\d,]+ rows   as of .* UTC", line)


def test_json_lines_on_a_terminal_stand_above_the_bar_too(installation: Installation) -> None:
    command = [*COMMAND, "run", "--once", "--json"]
    shown = screen.run(command, os.environ | installation.filled().environment, columns=100)
    assert "\x1b[2K" in shown.written, "a bar was drawn"
    assert len([line for line in shown.lines if line.startswith('{"stage": ')]) == 3


def test_piped_output_does_not_appear_on_the_terminal_with_the_bar(
    installation: Installation,
) -> None:
    installation.filled()
    command = f"{shlex.join(COMMAND)} run --once --json >{installation.folder}/piped"
    shown = screen.run(["sh", "-c", command], os.environ | installation.environment)
    assert "batch 1" in shown.written, "a bar was drawn"
    assert '"stage"' not in shown.written
    piped = (installation.folder / "piped").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in piped] == ["ingest", "transform", "load"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (600, "10 min"), (9000, "2.5 h"), (300_000, "3 d")],
)
def test_ages_are_told_in_the_unit_that_fits(seconds: int, text: str) -> None:
    assert terminal.age(timedelta(seconds=seconds)) == text
    assert terminal.age(None) == "never"


def test_the_demo_shows_the_business_its_batches_and_the_proof(home: Path) -> None:
    settings = Settings(home=home)
    screen = Console(file=StringIO(), force_terminal=True, width=300, record=True)
    seen = Flag()

    def stop_when_loaded() -> None:
        if seen.is_set():
            stop.set()
        seen.set()

    @contextmanager
    def verified(settings: Settings) -> Iterator[str]:
        with Places(settings) as places, open_reading(places.analyst) as reading:
            assert freshness(reading).verified_equal
        yield "here"

    stop = Flag()
    with at("load.before-commit", stop_when_loaded):
        show(settings, screen, stop, seconds=None, show_verdict=show_verdict, pages=verified)
    picture = screen.export_text()
    for expected in ("totesys: the business", "overdue payments", "equals totesys", "totes status"):
        assert expected in picture
    [psql] = re.findall(r"^  (\S*psql .*)$", picture, re.MULTILINE)
    [status] = re.findall(r"^  (TOTES_HOME=.* status) ", picture, re.MULTILINE)
    with Places(settings) as places:
        assert places.analyst  # its server runs
        for suggested in (f"{psql} --command 'SELECT 1'", status):
            subprocess.run(["sh", "-ec", suggested], check=True, capture_output=True)
    lines = Console(file=StringIO(), record=True, width=100)
    pages = partial(dashboard, look=False)
    show(settings, lines, Flag(), seconds=0.5, show_verdict=show_verdict, pages=pages)
    said = lines.export_text()
    assert "equals totesys" in said
    assert "The dashboard: http://127.0.0.1:" in said


MOMENTS = (
    "source/making/global/pg_control",
    "source/data/postmaster.pid",
    "warehouse/making/global/pg_control",
    "lake/ingestion",
)
"""What the demo has made by then: it makes a server, fills totesys, makes another, runs."""


def processes_of(home: Path) -> list[str]:
    """The programs that have the folder in their command line."""
    lines = [" ".join(process.info["cmdline"] or ()) for process in process_iter(["cmdline"])]
    return [line for line in lines if str(home) in line]


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (60, 20), (100, 30), (200, 50)])
@pytest.mark.parametrize("versions", [0, 2, 40])
def test_the_demos_view_has_room_for_the_address_and_the_silent_change(
    columns: int, rows: int, versions: int
) -> None:
    seen = drawn(columns, rows, versions)
    assert len(seen) < rows
    assert max(map(len, seen)) <= columns
    assert "The dashboard: http://127.0.0.1:8501" in seen[1]
    assert any("changed in silence" in line for line in seen)
    assert any("totesys: the business" in line for line in seen)
    assert sum("Somebody" in line for line in seen) >= min(versions, 3)
    assert "overdue payments" in "".join(seen) or rows < 30


@pytest.mark.parametrize(("columns", "rows"), [(1, 1), (2, 2), (10, 3), (40, 1), (1, 40)])
def test_the_demos_view_can_be_drawn_on_any_terminal_however_small(columns: int, rows: int) -> None:
    assert drawn(columns, rows, 2)


def drawn(columns: int, rows: int, versions: int) -> list[str]:
    """What a terminal of that size shows of a demonstration, line by line."""
    now = datetime(2026, 11, 29, 1, 36, tzinfo=UTC)
    version = Version(1234, now, now, "Somebody Longname", "Granite", now.date(), "New Somewhere")
    scene = Scene(
        now,
        [Event(Kind.SILENT, now, "a text that is longer than any line: " + 99 * "x", ())] * 20,
        [Done(stage, batch, 1_000_000, now) for batch in range(20) for stage in STAGES],
        Answers(now, now, (Country("Some Country", 1, 1),), (), (version,) * versions),
        "http://127.0.0.1:8501",
    )
    terminal = Console(file=StringIO(), force_terminal=True, width=columns, height=rows)
    with terminal.capture() as captured:
        terminal.print(picture(scene, columns, rows - 1))
    return re.sub(r"\x1b\[[\d;]*m", "", captured.get()).splitlines()


def test_the_demo_says_that_the_dashboards_packages_are_missing_and_how_to_get_them(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("totes.dashboard.server.find_spec", lambda _: None)
    environment = {"TOTES_HOME": str(home)}
    result = CliRunner().invoke(app, ["demo", "--for", "200ms"], env=environment)
    assert result.exit_code == 0, result.output
    assert "requirements-dashboard.txt" in result.stdout


@pytest.mark.parametrize("keys", [b"\x03", b"\x03\x03"], ids=["once", "twice"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_ctrl_c_while_the_demo_starts_ends_it_quietly_and_leaves_no_process(
    home: Path, moment: str, keys: bytes
) -> None:
    def interrupt(type_: Callable[[bytes], object]) -> None:
        while not (home / moment).exists():
            pass
        for key in keys:
            type_(bytes([key]))

    command = [*COMMAND, "demo", "--no-dashboard"]
    environment = os.environ | {"TOTES_HOME": str(home)}
    shown = screen.run(command, environment, meanwhile=interrupt)
    assert shown.exit_code in ({0} if keys == b"\x03" else {0, 130}), shown.written
    assert "totes: " not in shown.written
    assert "Traceback" not in shown.written
    assert processes_of(home) == []


def test_the_demo_goes_on_where_a_step_ends_while_it_looks_at_the_steps() -> None:
    shown = _Show(Console())
    now = datetime.now(UTC)

    class Meanwhile(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            shown.watch(Done("transform", 1, 0, now))
            return super().__eq__(other)

        __hash__ = str.__hash__

    shown.watch(Done(Meanwhile("ingest"), 1, 0, now))
    shown.ask(Dsn("host=nowhere"))
