"""`totes warehouse create` makes a new server usable, in one run or after any number of kills.

The server is like RDS: the master is no superuser and a member of no role, others log in with a
password, and statements that alter roles are logged.
"""

import itertools
import json
import re
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import boto3
import psycopg
import pytest
from s3_service import S3Service
from tls_proxy import NAME, TlsProxy
from typer.testing import CliRunner, Result

from conftest import THROW_AWAY
from totes.cli import app
from totes.config import secrets
from totes.config.dsn import Dsn
from totes.config.resources import Resources
from totes.config.settings import load_settings
from totes.dashboard.bookkeeping import open_bookkeeping, refuse_writers
from totes.embedded.servers import EmbeddedServer
from totes.errors import TotesError, UsageError, WarehouseError, WarehouseUnavailable
from totes.operations.warehouse_creation import create_warehouse
from totes.postgres.session import Session
from totes.warehouse.schema import migrate

MASTER_PASSWORD = "open-sesame"
LOGINS = {"WAREHOUSE": "totes_loader", "DASHBOARD": "dashboard"}
NUMBERS = itertools.count(1)

AUTHENTICATION = """
local all postgres trust
local all all scram-sha-256
"""


type Execute = Callable[[str], list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def rds(scratch: Path) -> Iterator[EmbeddedServer]:
    folder = Path(mkdtemp(dir=scratch))
    with EmbeddedServer(folder, {**THROW_AWAY, "log_statement": "ddl"}) as server:
        (server.data / "pg_hba.conf").write_text(AUTHENTICATION)
        yield server


@pytest.fixture(scope="module")
def execute(rds: EmbeddedServer) -> Iterator[Execute]:
    """A function that executes a statement as the superuser; there is a role `master`."""
    with psycopg.connect(rds.dsn.reveal(), autocommit=True) as connection:

        def run_statement(statement: str) -> list[tuple[Any, ...]]:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

        run_statement("SELECT pg_reload_conf()")
        run_statement("SET log_statement = none")
        run_statement(f"CREATE ROLE master LOGIN CREATEROLE CREATEDB PASSWORD '{MASTER_PASSWORD}'")
        yield run_statement


@dataclass
class NewServer:
    """A server without roles and database, and empty secrets for its logins."""

    log: Path
    execute: Execute
    port: str
    secrets: dict[str, str]

    def create(self, *, replace: bool = False) -> list[str]:
        return create_warehouse(load_settings(), replace=replace)

    def value(self, login: str) -> dict[str, Any]:
        """Return the secret of a login; empty if it has no value."""
        client = boto3.client("secretsmanager")
        try:
            text = client.get_secret_value(SecretId=self.secrets[login])["SecretString"]
        except client.exceptions.ResourceNotFoundException:
            return {}
        return dict(json.loads(text))

    def put(self, login: str, **value: object) -> None:
        client = boto3.client("secretsmanager")
        client.put_secret_value(SecretId=self.secrets[login], SecretString=json.dumps(value))

    def dsn(self, login: str) -> Dsn:
        """Return the DSN that the settings lead to, with the port of this server."""
        resources = Resources(load_settings())
        found = {"WAREHOUSE": resources.warehouse, "DASHBOARD": resources.dashboard}[login]
        return found.replace(port=self.port)

    def roles(self) -> set[str]:
        query = f"SELECT rolname FROM pg_roles WHERE rolname IN {(*ROLES,)}"
        return {role for (role,) in self.execute(query)}

    def rights(self) -> str:
        query = "SELECT datacl::text FROM pg_database WHERE datname = 'warehouse'"
        [(rights,)] = self.execute(query)
        return str(rights)

    def clear(self) -> None:
        """Remove roles and database, and give each login a new, empty secret."""
        self.execute("DROP DATABASE IF EXISTS warehouse WITH (FORCE)")
        for role in ROLES:
            self.execute(f"DROP ROLE IF EXISTS {role}")
        for login in LOGINS:
            self.secrets[login] = f"totes/{login}/{next(NUMBERS)}"
            boto3.client("secretsmanager").create_secret(Name=self.secrets[login])


RIGHTS = "{totes_loader=CTc/totes_loader,totes_reader=c/totes_loader}"

ROLES = ("dashboard", "totes_reader", "totes_loader")


@pytest.fixture
def new(
    rds: EmbeddedServer,
    execute: Execute,
    service: S3Service,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[NewServer]:
    service.environment(monkeypatch)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    with TlsProxy(rds.dsn, tmp_path) as proxy:
        proxy.root.rename(tmp_path / "data" / "rds-ca.pem")
        master = f"totes/master/{next(NUMBERS)}"
        boto3.client("secretsmanager").create_secret(
            Name=master,
            SecretString=json.dumps({"username": "master", "password": MASTER_PASSWORD}),
        )
        made = NewServer(rds.log, execute, proxy.port, {})
        made.clear()
        for name, value in {
            "PGHOSTADDR": "127.0.0.1",
            "PGPORT": proxy.port,
            "PGGSSENCMODE": "disable",
            "TOTES_WAREHOUSE_HOST": NAME,
            "TOTES_WAREHOUSE_MASTER_SECRET": master,
            **{f"TOTES_{login}_SECRET": name for login, name in made.secrets.items()},
        }.items():
            monkeypatch.setenv(name, value)
        yield made
        made.clear()


def assert_complete(new: NewServer) -> None:
    """Assert that both logins work, with the rights that they need and no more."""
    migrate(new.dsn("WAREHOUSE"))
    refuse_writers(new.dsn("DASHBOARD"))
    with open_bookkeeping(new.dsn("DASHBOARD")) as bookkeeping:
        assert len(bookkeeping.rows("freshness")) == 1
    assert new.rights() == RIGHTS


def test_a_new_server_gets_roles_a_database_and_logins_in_their_secrets(new: NewServer) -> None:
    result = run("warehouse", "create")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "created role totes_loader",
        "created role totes_reader",
        "created role dashboard",
        "created database warehouse",
        f"created a password of totes_loader, in secret {new.secrets['WAREHOUSE']}",
        f"created a password of dashboard, in secret {new.secrets['DASHBOARD']}",
    ]
    values = {login: new.value(login) for login in LOGINS}
    passwords = {value.pop("password") for value in values.values()}
    assert len(passwords) == 2
    assert all(len(password) > 40 for password in passwords)
    assert values == {
        login: {
            "host": NAME,
            "port": 5432,
            "dbname": "warehouse",
            "username": role,
            "sslmode": "verify-full",
            "sslrootcert": "data/rds-ca.pem",
        }
        for login, role in LOGINS.items()
    }
    assert_complete(new)
    log = new.log.read_text()
    assert "ALTER ROLE" in log
    assert "SCRAM-SHA-256$" in log
    assert not [
        password for password in (*passwords, MASTER_PASSWORD) if password in result.output + log
    ]


def test_a_further_run_changes_nothing_and_repairs_a_password(new: NewServer) -> None:
    new.create()
    before = {login: new.value(login) for login in LOGINS}
    new.execute("ALTER ROLE dashboard PASSWORD 'forgotten'")
    result = run("warehouse", "create")
    assert (result.exit_code, result.stdout) == (0, "The warehouse is complete.\n")
    assert {login: new.value(login) for login in LOGINS} == before
    assert_complete(new)


class Killed(BaseException):
    """What ends a run in the middle."""


def test_a_run_that_was_killed_anywhere_is_completed_by_the_next(
    new: NewServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last change was made, and its answer was lost."""
    execute_statement, write_secret = Session.execute, secrets.write_secret
    left = 0

    def then_killed(change: Callable[..., Any]) -> Callable[..., Any]:
        def make(*arguments: Any, **options: Any) -> Any:
            nonlocal left
            result = change(*arguments, **options)
            if not re.match(r"SELECT|(Composed\(\[)?SQL\('SET", str(arguments[1])):
                left -= 1
                if left == 0:
                    raise Killed
            return result

        return make

    with monkeypatch.context() as patch:
        patch.setattr(Session, "execute", then_killed(execute_statement))
        patch.setattr(f"{create_warehouse.__module__}.write_secret", then_killed(write_secret))
        for changes in itertools.count(1):
            left = changes
            try:
                new.create()
            except Killed:
                new.create()  # which proves that both logins work
                assert new.rights() == RIGHTS
                new.clear()
            else:
                break
    assert changes == 12, "three roles, membership, database, its rights, two secrets and passwords"
    assert_complete(new)


def test_two_runs_at_once_agree_on_the_passwords(new: NewServer) -> None:
    with ThreadPoolExecutor(2) as two:
        created = list(two.map(lambda _: new.create(), range(2)))
    assert sorted(map(len, created)) == [0, 6]
    assert_complete(new)


def test_the_secret_of_another_database_is_replaced_only_on_request(new: NewServer) -> None:
    other = {"host": "other.example", "username": "dashboard", "password": "sesame"}
    new.put("DASHBOARD", **other)
    result = run("warehouse", "create")
    assert result.exit_code == 2
    assert result.stderr == (
        f"totes: The secret {new.secrets['DASHBOARD']} (TOTES_DASHBOARD_SECRET) has a login of "
        "another database: host other.example. Correct the setting, or replace it with --replace.\n"
    )
    assert (new.roles(), new.value("WAREHOUSE"), new.value("DASHBOARD")) == (set(), {}, other)
    assert run("warehouse", "create", "--replace").exit_code == 0
    assert_complete(new)
    before = new.value("WAREHOUSE")["password"]
    assert new.create(replace=True) == [
        f"a password of {role}, in secret {new.secrets[login]}" for login, role in LOGINS.items()
    ]
    assert new.value("WAREHOUSE")["password"] != before
    assert_complete(new)


def test_a_database_of_another_owner_is_not_taken(new: NewServer) -> None:
    new.execute("CREATE DATABASE warehouse")
    with pytest.raises(WarehouseError, match="has a database warehouse, which belongs to postgres"):
        new.create()


@pytest.mark.parametrize(
    ("variables", "kind", "message"),
    [
        (
            {"TOTES_WAREHOUSE_HOST": "", "TOTES_DASHBOARD_SECRET": ""},
            UsageError,
            "needs TOTES_WAREHOUSE_HOST, TOTES_DASHBOARD_SECRET.",
        ),
        (
            {"TOTES_DASHBOARD_SECRET": "totes/missing"},
            UsageError,
            r"totes/missing \(TOTES_DASHBOARD_SECRET\) can't be read: there is no such secret",
        ),
        ({"TOTES_WAREHOUSE_HOST": "other.example"}, WarehouseError, "does not match host name"),
        ({"PGPORT": "9"}, WarehouseUnavailable, "Connection refused"),
    ],
)
def test_what_is_wrong_is_one_sentence_without_a_password(
    new: NewServer,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    kind: type[TotesError],
    message: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(kind, match=message) as raised:
        new.create()
    shown = "".join(traceback.format_exception(raised.value))
    assert "\n" not in str(raised.value)
    assert MASTER_PASSWORD not in shown


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)
