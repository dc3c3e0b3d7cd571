"""Secrets stay secret, whatever is printed, logged, raised, stored or told."""

import copy
import dataclasses
import gzip
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
from installation import Installation
from typer.main import get_command

from totes.cli import app
from totes.config.settings import Dsn, dsn, load_settings
from totes.embedded.servers import binary
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


def assert_clean(text: str, *secrets: str) -> None:
    assert not [secret for secret in secrets or (SECRET, ENCODED, QUOTED) if secret in text]


@spelling
def test_a_dsn_never_shows_its_password(text: str) -> None:
    made = Dsn(text)
    assert str(made) == f"{made}" == "%s" % made == "me@host/base"  # noqa: UP031  each its own way
    shown = [repr(made), pprint.pformat(made), str([made]), str(made.parts)]
    shown += [str(Holder(made)), str(dataclasses.asdict(Holder(made)))]
    shown += [json.dumps(dataclasses.asdict(Holder(made)), default=str)]
    shown += [str({name: getattr(made, name) for name in Dsn.__slots__})]
    for one in shown:
        assert_clean(one)
    assert_clean(str(logging.makeLogRecord({"msg": "%s", "args": (made,)}).getMessage()))
    assert SECRET in made.reveal() or ENCODED in made.reveal() or QUOTED in made.reveal()
    assert not hasattr(made, "__dict__")


@spelling
def test_a_dsn_is_copied_and_never_pickled(text: str) -> None:
    made = Dsn(text)
    assert copy.deepcopy(Holder(made)) == Holder(made)
    assert copy.copy(made) == made
    with pytest.raises(TypeError, match="can't be pickled") as refused:
        made.__reduce_ex__(pickle.HIGHEST_PROTOCOL)  # the way of every pickler
    assert_clean(str(refused.value))


@spelling
def test_a_traceback_with_all_its_locals_shows_none(text: str) -> None:
    def fail(target: Dsn) -> None:
        raise UsageError(f"It fails at {target}.")

    with pytest.raises(UsageError) as raised:
        fail(Dsn(text))
    [*_, frame] = traceback.TracebackException.from_exception(
        raised.value, capture_locals=True
    ).stack
    assert frame.locals is not None
    assert_clean(frame.locals["target"])


def test_a_replaced_part_leaves_the_password_where_it_is() -> None:
    moved = Dsn(SPELLINGS["URL"]).replace(dbname="other", password="new one")
    assert str(moved) == "me@host/other"
    assert "new one" in moved.reveal()


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
def test_a_password_that_tears_its_url_is_refused_and_not_repeated(text: str) -> None:
    """Libpq would take a part of it for a host or a database, and say so in every message."""
    with pytest.raises(UsageError, match="is not a libpq connection URL") as refused:
        dsn(text, "--into")
    assert "sesame" not in "".join(traceback.format_exception(refused.value))


def test_a_passfile_is_left_to_the_driver(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text(f"*:*:*:*:{SECRET}")
    made = Dsn(f"host=host passfile={tmp_path / 'pass'}")
    assert made.parts["passfile"] == str(tmp_path / "pass")
    assert_clean(made.reveal())


# On the network


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A home without a passfile, and none of libpq's variables."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("PGPASSWORD", "PGPASSFILE", "PGSSLMODE", "PGHOST", "PGHOSTADDR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("text", "open_"),
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
def test_a_password_that_may_travel_in_the_clear_is_warned_of(
    text: str, *, open_: bool, caplog: pytest.LogCaptureFixture
) -> None:
    dsn(text, "--into")
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == open_
    assert all("Option --into" in line and "sslmode=verify-full" in line for line in said)


@pytest.mark.parametrize("where", ["PGPASSWORD", "PGPASSFILE"])
def test_a_password_from_elsewhere_counts_and_so_does_pgsslmode(
    bare: pytest.MonkeyPatch, tmp_path: Path, where: str
) -> None:
    (tmp_path / "pass").write_text("")
    bare.setenv(where, str(tmp_path / "pass"))
    assert Dsn("host=db.example").may_lack_tls
    bare.setenv("PGSSLMODE", "verify-full")
    assert not Dsn("host=db.example").may_lack_tls


def test_who_has_no_home_has_no_passfile(bare: pytest.MonkeyPatch) -> None:
    """As a function on Lambda."""

    def nobody(user: int) -> None:
        raise KeyError(user)

    bare.delenv("HOME")
    bare.setattr("pwd.getpwuid", nobody)
    assert not Dsn("host=db.example").may_lack_tls


def test_each_setting_is_warned_of_once(
    bare: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bare.setenv("TOTES_SOURCE_DSN", f"postgresql://u:{ENCODED}@db.example/b")
    bare.setenv("TOTES_WAREHOUSE_DSN", f"postgresql://u:{ENCODED}@db.example/b?sslmode=require")
    load_settings()
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("TOTES_SOURCE_DSN (u@db.example/b) may send its password without TLS")
    assert_clean(line)


# Everything there is


SECRETS = {
    "TOTES_SOURCE_DSN": "sesame-of-the-source",
    "TOTES_WAREHOUSE_DSN": "sesame-of-the-warehouse",
    "AWS_SECRET_ACCESS_KEY": "sesame-of-the-cloud",
    "AWS_SESSION_TOKEN": "sesame-of-the-session",
}

ARGUMENTS = {
    "totes erase": ["staff", "1", "--columns", "email_address", "--into", "anew"],
    "totes run": ["--once"],
    "totes quarantine release": ["1"],
}


def commands(command: Any = None, name: str = "totes") -> Iterator[str]:
    """The full name of every command that does something."""
    inner = getattr(command or get_command(app), "commands", None)
    if inner is None:
        yield name
    for part, one in (inner or {}).items():
        yield from commands(one, f"{name} {part}")


def everything(folder: Path) -> Iterator[str]:
    """The content of all files, the packed ones unpacked."""
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            yield (gzip.decompress(data) if path.suffix == ".gz" else data).decode(
                "utf-8", "replace"
            )


@pytest.fixture
def secretive(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Installation:
    """An installation whose settings are full of secrets; alarms and processes are written down."""
    for name in ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
        monkeypatch.setenv(name, SECRETS[name])
    script = tmp_path / "post.py"
    script.write_text(
        "import subprocess, sys\n"
        f"with open({str(tmp_path / 'told')!r}, 'a') as told:\n"
        "    told.write(sys.stdin.read() + repr(sys.argv))\n"
        "    told.write(subprocess.run(['ps', '-eo', 'args'], capture_output=True).stdout.decode())"
    )
    return installation.having(
        alert_command=shlex.join([sys.executable, str(script)]),
        source_dsn=installation.source.replace(password=SECRETS["TOTES_SOURCE_DSN"]).reveal(),
        warehouse_dsn=installation.warehouse.replace(
            password=SECRETS["TOTES_WAREHOUSE_DSN"]
        ).reveal(),
    )


def test_no_command_lets_a_secret_out_whatever_fails(
    secretive: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # one of the commands writes into a folder named from here
    secretive.filled(5)
    said: list[str] = []

    def run_all(installation: Installation, *expected: int) -> None:
        codes = set()
        for name in commands():
            arguments = [*name.split()[1:], *ARGUMENTS.get(name, [])]
            result = installation.totes("--debug", *arguments)
            codes.add(result.exit_code)
            trace = traceback.format_exception(result.exception) if result.exception else []
            said.extend([result.output, result.stderr, "".join(trace), repr(result.exception)])
        assert set(expected) <= codes

    run_all(secretive, 0)
    secretive.change("UPDATE sales_order SET agreed_delivery_date = 'soon'")
    run_all(secretive, 0)
    away = {"host": "/nowhere", "password": "sesame-of-the-source"}
    run_all(secretive.having(source_dsn=secretive.source.replace(**away).reveal()), 3)
    away["password"] = "sesame-of-the-warehouse"
    run_all(secretive.having(warehouse_dsn=secretive.warehouse.replace(**away).reveal()), 5)
    run_all(secretive.having(source_dsn="postgresql://u:sesame-of-the-source@h@i/b"), 2)
    run_all(secretive.having(ingestion_url=str(tmp_path / "post.py")), 4)
    dumped = subprocess.run(
        [binary("pg_dump"), secretive.warehouse.reveal()], capture_output=True, check=True
    )
    told = (tmp_path / "told").read_text()
    assert "rows set aside" in told
    found = [
        secret
        for text in [*said, dumped.stdout.decode(), *everything(tmp_path)]
        for secret in SECRETS.values()
        if secret in text
    ]
    assert not found
    assert "Traceback" in "".join(said), "what --debug shows was looked at"
