"""Secrets are never printed, logged, raised, stored or sent."""

import copy
import dataclasses
import json
import logging
import pickle
import pprint
import shlex
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from depth import sample
from installation import Installation
from lake_reader import file_contents
from typer.main import get_command

from totes.cli import app
from totes.config.dsn import Dsn
from totes.config.settings import load_settings
from totes.config.values import parse_dsn
from totes.embedded.servers import program_path
from totes.errors import UsageError

SECRET = "open sesame/%$'"
ENCODED = "open%20sesame%2F%25%24%27"
QUOTED = SECRET.replace("'", "\\'")

SPELLINGS = {
    "URL": f"postgresql://me:{ENCODED}@host/base",
    "URL with a query": f"postgresql://me@host/base?password={ENCODED}",
    "keywords": f"host=host dbname=base user=me password='{QUOTED}'",
    "key of a certificate": f"host=host dbname=base user=me sslpassword='{QUOTED}'",
    "SCRAM key": f"host=host dbname=base user=me scram_client_key='{QUOTED}'",
}

spelling = pytest.mark.parametrize("text", SPELLINGS.values(), ids=SPELLINGS)


@dataclasses.dataclass
class Holder:
    dsn: Dsn


def assert_no_secret(text: str, *secrets: str) -> None:
    assert not [secret for secret in secrets or (SECRET, ENCODED, QUOTED) if secret in text]


@spelling
def test_a_dsn_never_shows_its_password(text: str) -> None:
    dsn = Dsn(text)
    assert str(dsn) == f"{dsn}" == "%s" % dsn == "me@host/base"  # noqa: UP031  all ways to format
    texts = [repr(dsn), pprint.pformat(dsn), str([dsn]), str(dsn.parts)]
    texts += [str(Holder(dsn)), str(dataclasses.asdict(Holder(dsn)))]
    texts += [json.dumps(dataclasses.asdict(Holder(dsn)), default=str)]
    texts += [str({name: getattr(dsn, name) for name in Dsn.__slots__})]
    for text_of_dsn in texts:
        assert_no_secret(text_of_dsn)
    assert_no_secret(str(logging.makeLogRecord({"msg": "%s", "args": (dsn,)}).getMessage()))
    assert SECRET in dsn.reveal() or ENCODED in dsn.reveal() or QUOTED in dsn.reveal()
    assert not hasattr(dsn, "__dict__")


@spelling
def test_a_dsn_can_be_copied_but_not_pickled(text: str) -> None:
    dsn = Dsn(text)
    assert copy.deepcopy(Holder(dsn)) == Holder(dsn)
    assert copy.copy(dsn) == dsn
    with pytest.raises(TypeError, match="can't be pickled") as error:
        dsn.__reduce_ex__(pickle.HIGHEST_PROTOCOL)  # as every pickler does
    assert_no_secret(str(error.value))


@spelling
def test_a_traceback_with_locals_shows_no_password(text: str) -> None:
    def fail(target: Dsn) -> None:
        raise UsageError(f"It fails at {target}.")

    with pytest.raises(UsageError) as raised:
        fail(Dsn(text))
    [*_, frame] = traceback.TracebackException.from_exception(
        raised.value, capture_locals=True
    ).stack
    assert frame.locals is not None
    assert_no_secret(frame.locals["target"])


def test_replace_does_not_show_the_password() -> None:
    replaced = Dsn(SPELLINGS["URL"]).replace(dbname="other", password="new one")
    assert str(replaced) == "me@host/other"
    assert "new one" in replaced.reveal()


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:open@sesame@host/base",
        "postgresql://me:open/sesame@host/base",
        "postgres://me:1/sesame@host/base",
        "host='open sesame",
        "postgresql://me:open sesame@[bad/base",
    ],
)
def test_an_unescaped_password_in_a_url_is_rejected_and_not_shown(text: str) -> None:
    """Libpq would read part of it as host or database, and show that in error messages."""
    with pytest.raises(UsageError, match="is not a libpq connection URL") as error:
        parse_dsn(text, "--into")
    assert "sesame" not in "".join(traceback.format_exception(error.value))


def test_a_passfile_is_read_only_by_the_driver(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text(f"*:*:*:*:{SECRET}")
    dsn = Dsn(f"host=host passfile={tmp_path / 'pass'}")
    assert dsn.parts["passfile"] == str(tmp_path / "pass")
    assert_no_secret(dsn.reveal())


# TLS


@pytest.fixture
def no_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A home folder without passfile, and no variables of libpq."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSSLMODE", "PGHOST", "PGHOSTADDR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.usefixtures("no_passwords")
@pytest.mark.parametrize(
    ("text", "is_warned_of"),
    [
        ("postgresql://u:p@db.example/b", True),
        ("postgresql://u:p@db.example/b?sslmode=disable", True),
        ("postgresql://u:p@db.example/b?sslmode=allow", True),
        ("postgresql://u:p@db.example/b?sslmode=prefer", True),
        ("postgresql://u:p@db.example/b?sslmode=require", False),
        ("postgresql://u:p@db.example/b?sslmode=verify-ca", False),
        ("postgresql://u:p@db.example/b?sslmode=verify-full", False),
        ("postgresql://u:p@10.0.0.7/b", True),
        ("postgresql://u:p@[2001:db8::1]/b", True),
        ("postgresql://u:p@localhost,db.example/b", True),
        ("host=localhost hostaddr=10.0.0.7 password=p", True),
        ("host=db.example hostaddr=127.0.0.1 password=p", False),
        ("postgresql://u:p@localhost/b", False),
        ("postgresql://u:p@127.8.0.1/b", False),
        ("postgresql://u:p@[::1]/b", False),
        ("host=/run/postgresql password=p", False),
        ("password=p", False),
        ("postgresql://u@db.example/b", False),
    ],
)
def test_a_dsn_that_does_not_require_tls_is_warned_of(
    text: str, *, is_warned_of: bool, caplog: pytest.LogCaptureFixture
) -> None:
    parse_dsn(text, "--into")
    warnings = [record.getMessage() for record in caplog.records]
    assert len(warnings) == is_warned_of
    assert all("Option --into" in line and "sslmode=verify-full" in line for line in warnings)


@pytest.mark.parametrize("variable", ["PGPASSWORD", "PGPASSFILE"])
def test_the_tls_warning_respects_libpq_variables(
    no_passwords: pytest.MonkeyPatch, tmp_path: Path, variable: str
) -> None:
    (tmp_path / "pass").write_text("")
    no_passwords.setenv(variable, str(tmp_path / "pass"))
    assert Dsn("host=db.example").may_lack_tls
    no_passwords.setenv("PGSSLMODE", "verify-full")
    assert not Dsn("host=db.example").may_lack_tls


def test_a_user_without_a_home_has_no_passfile(no_passwords: pytest.MonkeyPatch) -> None:
    """Such as a Lambda function."""

    def no_user(user: int) -> None:
        raise KeyError(user)

    no_passwords.delenv("HOME")
    no_passwords.setattr("pwd.getpwuid", no_user)
    assert not Dsn("host=db.example").may_lack_tls


def test_each_setting_is_warned_of_once(
    no_passwords: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    no_passwords.setenv("TOTES_SOURCE_DSN", f"postgresql://u:{ENCODED}@db.example/b")
    no_passwords.setenv(
        "TOTES_WAREHOUSE_DSN", f"postgresql://u:{ENCODED}@db.example/b?sslmode=require"
    )
    load_settings()
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("TOTES_SOURCE_DSN (u@db.example/b) may send its password without TLS")
    assert_no_secret(line)


# All commands


SECRETS = {
    "TOTES_SOURCE_DSN": "sesame-of-the-source",
    "TOTES_WAREHOUSE_DSN": "sesame-of-the-warehouse",
    "AWS_SECRET_ACCESS_KEY": "sesame-of-the-cloud",
    "AWS_SESSION_TOKEN": "sesame-of-the-session",
}

ARGUMENTS = {
    "totes erase": ["staff", "1", "--columns", "email_address", "--into", "erased"],
    "totes run": ["--once"],
    "totes quarantine release": ["1"],
}


def commands(command: Any = None, name: str = "totes") -> Iterator[str]:
    """The full names of all commands, without groups."""
    subcommands = getattr(command or get_command(app), "commands", None)
    if subcommands is None:
        yield name
    for part, subcommand in (subcommands or {}).items():
        yield from commands(subcommand, f"{name} {part}")


@pytest.fixture
def installation_with_secrets(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    """An installation with secrets in its settings; alerts and process lists go to a file."""
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, SECRETS[name])
    script = tmp_path / "record.py"
    script.write_text(
        "import subprocess, sys\n"
        f"with open({str(tmp_path / 'recorded')!r}, 'a') as file:\n"
        "    file.write(sys.stdin.read() + repr(sys.argv))\n"
        "    file.write(subprocess.run(['ps', '-eo', 'args'], capture_output=True).stdout.decode())"
    )
    return installation.with_settings(
        alert_command=shlex.join([sys.executable, str(script)]),
        source_dsn=installation.source.replace(password=SECRETS["TOTES_SOURCE_DSN"]).reveal(),
        warehouse_dsn=installation.warehouse.replace(
            password=SECRETS["TOTES_WAREHOUSE_DSN"]
        ).reveal(),
    )


@pytest.mark.usefixtures("no_pauses")
def test_no_command_shows_a_secret(
    installation_with_secrets: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a command writes to a relative path
    installation_with_secrets.add_orders(5)
    outputs: list[str] = []

    def run_all(installation: Installation, *expected: int) -> None:
        codes = set()
        for name in commands():
            arguments = [*name.split()[1:], *ARGUMENTS.get(name, [])]
            result = installation.totes("--debug", *arguments)
            codes.add(result.exit_code)
            trace = traceback.format_exception(result.exception) if result.exception else []
            outputs.extend([result.output, result.stderr, "".join(trace), repr(result.exception)])
        assert set(expected) <= codes

    run_all(installation_with_secrets, 0)
    installation_with_secrets.change("UPDATE sales_order SET agreed_delivery_date = 'soon'")
    run_all(installation_with_secrets, 0)
    unreachable = {"host": "/nowhere", "password": "sesame-of-the-source"}
    source = installation_with_secrets.source.replace(**unreachable)
    unreachable["password"] = "sesame-of-the-warehouse"
    warehouse = installation_with_secrets.warehouse.replace(**unreachable)
    failing = [
        ({"source_dsn": source.reveal()}, 3),
        ({"warehouse_dsn": warehouse.reveal()}, 5),
        ({"source_dsn": "postgresql://u:sesame-of-the-source@h@i/b"}, 2),
        ({"ingestion_url": str(tmp_path / "record.py")}, 4),
    ]
    for settings, exit_code in sample(2, failing, "secrets"):
        run_all(installation_with_secrets.with_settings(**settings), exit_code)
    dumped = subprocess.run(
        [program_path("pg_dump"), installation_with_secrets.warehouse.reveal()],
        capture_output=True,
        check=True,
    )
    recorded = (tmp_path / "recorded").read_text()
    assert "rows quarantined" in recorded
    found = [
        secret
        for text in [*outputs, dumped.stdout.decode(), *file_contents(tmp_path)]
        for secret in SECRETS.values()
        if secret in text
    ]
    assert not found
    assert "Traceback" in "".join(outputs), "the output of --debug was checked"
