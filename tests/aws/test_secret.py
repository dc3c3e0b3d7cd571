"""DSNs from Secrets Manager: a secret is used or rejected, and never shown."""

import itertools
import json
import traceback
from collections.abc import Iterator
from dataclasses import replace

import boto3
import pytest
from installation import Installation
from s3_service import Fault, S3Service, forget_clients

from conftest import EmptyWarehouse
from totes.config.dsn import Dsn
from totes.config.resources import Resources
from totes.config.settings import list_settings, load_settings
from totes.config.sign_in import sign_in
from totes.errors import (
    SourceError,
    SourceUnavailable,
    TotesError,
    UsageError,
    WarehouseUnavailable,
)
from totes.source.session import connect
from totes.warehouse import connection as warehouse_session

SECRET = "open sesame/%$'"
PARTS = {"host": "db.example", "port": 5433, "dbname": "totesys", "username": "me"}
NUMBERS = itertools.count(1)
WHOLE = {**PARTS, "password": SECRET, "engine": "postgres", "sslmode": "require"}


class Vault:
    """One secret in Secrets Manager."""

    def __init__(self, name: str) -> None:
        self._client = boto3.client("secretsmanager")
        self.name = name

    def create(self) -> None:
        self._client.create_secret(Name=self.name)

    def put(self, content: object) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        try:
            self._client.create_secret(Name=self.name, SecretString=text)
        except self._client.exceptions.ResourceExistsException:
            self._client.put_secret_value(SecretId=self.name, SecretString=text)


@pytest.fixture
def vault(service: S3Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[Vault]:
    service.environment(monkeypatch)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    forget_clients()
    vault = Vault(f"totes/{next(NUMBERS)}")
    monkeypatch.setenv("TOTES_SOURCE_SECRET", vault.name)
    yield vault
    service.fail(None)
    forget_clients()


def source() -> Dsn:
    return Resources(load_settings()).source


def error_message(kind: type[TotesError]) -> str:
    """The message of a secret that can't be used; neither it nor the traceback shows the secret."""
    with pytest.raises(kind) as raised:
        _ = source()
    assert "sesame" not in "".join(traceback.format_exception(raised.value))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_secret_can_hold_a_complete_dsn(vault: Vault) -> None:
    vault.put(WHOLE)
    assert str(source()) == "me@db.example:5433/totesys"
    assert source().parts["sslmode"] == "require"
    assert Dsn(source().reveal()) == Dsn("").replace(
        host="db.example", port="5433", dbname="totesys", user="me", password=SECRET,
        sslmode="require",
    )  # fmt: skip


def test_the_dsn_setting_completes_a_secret_that_rds_manages(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put({"username": "me", "password": SECRET})
    monkeypatch.setenv(
        "TOTES_SOURCE_DSN", "postgresql://you:old@db.example/totesys?sslmode=require"
    )
    assert str(source()) == "me@db.example/totesys"
    assert SECRET not in str({one.name: one.value for one in list_settings(load_settings())})
    assert "old" not in source().reveal()
    monkeypatch.setenv("TOTES_SOURCE_DSN", "host=db.example")
    assert error_message(UsageError).endswith(
        "(TOTES_SOURCE_SECRET) has no dbname: add it to the secret or to TOTES_SOURCE_DSN."
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (SECRET, "is not a JSON object such as"),
        (f'["{SECRET}"]', "is not a JSON object such as"),
        (f'{{"password": "{SECRET}"', "is not a JSON object such as"),
        (PARTS, "has no password: add it to the secret."),
        (
            {"api_key": SECRET},
            "has no host, dbname, user, password: add it to the secret or to TOTES_SO",
        ),
        ({**WHOLE, "password": [SECRET]}, "has a password that is neither a string nor a number"),
        ({**WHOLE, "password": f"{SECRET}\0"}, "has a value that libpq rejects"),
    ],
)
def test_an_invalid_secret_is_rejected_and_not_shown(
    vault: Vault, content: object, message: str
) -> None:
    vault.put(content)
    assert error_message(UsageError).startswith(f"The secret {vault.name} (TOTES_SOURCE_SECRET) ")
    assert message in error_message(UsageError)


def test_a_missing_secret_is_named(vault: Vault) -> None:
    assert error_message(UsageError) == (
        f"The secret {vault.name} (TOTES_SOURCE_SECRET) can't be read: "
        "there is no such secret in this account and region."
    )


def test_a_secret_without_a_value_is_named(vault: Vault) -> None:
    """Terraform creates them so. AWS reports both as ResourceNotFoundException."""
    vault.create()
    assert "(TOTES_SOURCE_SECRET) has no value yet: write" in error_message(UsageError)


BAD_REQUEST = "400 Bad Request"


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        (
            Fault("", BAD_REQUEST, "AccessDeniedException"),
            UsageError,
            "do not allow it: grant secretsmanager:GetSecretValue",
        ),
        (
            Fault("", BAD_REQUEST, "ExpiredTokenException"),
            UsageError,
            "the credentials have expired",
        ),
        (
            Fault("", "500 Oh No", "InternalServiceError"),
            SourceUnavailable,
            "temporarily unavailable: InternalService",
        ),
    ],
)
def test_an_error_of_secrets_manager_is_one_sentence(
    service: S3Service, fault: Fault, kind: type[TotesError], message: str
) -> None:
    service.fail(replace(fault, method="POST"))
    assert message in error_message(kind)


def test_an_unreachable_secrets_manager_is_a_temporary_error(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put(WHOLE)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TOTES_WAREHOUSE_SECRET", vault.name)
    assert "is temporarily unavailable: the service can't be reached" in error_message(
        SourceUnavailable
    )
    with pytest.raises(
        WarehouseUnavailable, match=r"\(TOTES_WAREHOUSE_SECRET\) is temporarily unavailable"
    ):
        _ = Resources(load_settings()).warehouse


def test_a_dsn_without_required_tls_is_warned_of(
    vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    vault.put({**WHOLE, "sslmode": "prefer"})
    _ = source()
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("TOTES_SOURCE_SECRET (me@db.example:5433/totesys) may send its password")
    assert "sesame" not in line


def test_a_source_from_a_secret_is_only_read(vault: Vault) -> None:
    vault.put(WHOLE)
    with pytest.raises(UsageError, match="only reads"):
        _ = Resources(load_settings()).source_owner


def as_secret(dsn: Dsn, **others: str) -> dict[str, str]:
    """The secret of this database; the embedded servers accept any password."""
    parts = {key: str(value) for key, value in dsn.parts.items()}
    return {**parts, "password": SECRET, **others}


def test_a_rotated_password_is_fetched_once(
    vault: Vault, service: S3Service, installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    """The user changes too, as in rotation between two users."""
    vault.put(as_secret(installation.source, user="former"))
    dsn = source()
    with pytest.raises(SourceError, match='role "former" does not exist'), connect(dsn):
        pass
    vault.put(as_secret(installation.source))
    with caplog.at_level("INFO", "totes"), connect(dsn) as first:
        assert first.info.user == installation.source.parts["user"]
    assert "former" in caplog.text
    assert "sesame" not in caplog.text
    service.fail(Fault("POST", "500 Oh No", "InternalServiceError"))
    with connect(dsn):
        assert service.faults == 0, "the fetched secret is cached"


def test_the_dashboard_reads_the_warehouse_with_the_login_of_its_own_secret(
    vault: Vault, monkeypatch: pytest.MonkeyPatch, warehouse: EmptyWarehouse
) -> None:
    """Its password is fetched again after a rotation, as the others are."""
    monkeypatch.setenv("TOTES_WAREHOUSE_SECRET", "the loader's")
    with pytest.raises(UsageError, match="set it, or TOTES_DASHBOARD_SECRET, to a login"):
        _ = Resources(load_settings()).dashboard
    monkeypatch.setenv("TOTES_DASHBOARD_SECRET", vault.name)
    vault.put(as_secret(warehouse.reader, user="former"))
    dsn = Resources(load_settings()).dashboard
    vault.put(as_secret(warehouse.reader))
    with warehouse_session.connect(dsn) as session:
        assert session.info.user == warehouse.reader.parts["user"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    forget_clients()
    with pytest.raises(WarehouseUnavailable, match=r"\(TOTES_DASHBOARD_SECRET\) is temporarily"):
        _ = Resources(load_settings()).dashboard


def test_commands_read_secrets(vault: Vault, installation: Installation) -> None:
    installation.add_orders(3)
    vault.put(as_secret(installation.source))
    configured = installation.with_settings(source_dsn="", source_secret=vault.name)
    assert configured.totes("run", "--once").exit_code == 0
    checked = configured.totes("check")
    assert checked.exit_code == 0, checked.output
    shown = configured.totes("settings").output
    assert vault.name in shown
    assert "sesame" not in checked.output + shown


def test_the_dashboards_sign_in_reads_its_secrets(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "OIDC_SECRET": vault.name,
        "OIDC_URL": "http://127.0.0.1/.well-known/openid-configuration",
        "URL": "http://127.0.0.1:8501",
        "OPERATORS": "me@totes.example",
    }.items():
        monkeypatch.setenv(f"TOTES_DASHBOARD_{name}", value)
    vault.put({"client_id": "dashboard", "client_secret": SECRET, "owner": ["a", "b"]})
    found = sign_in(load_settings())
    assert found is not None
    assert found.provider["client_id"] == "dashboard"
    assert found.provider["client_secret"] == SECRET
    assert SECRET not in str(found)
    forget_clients()
    vault.put({"client_id": "dashboard", "client_secret": ""})
    with pytest.raises(UsageError, match="lacks TOTES_DASHBOARD_OIDC_CLIENT_SECRET"):
        sign_in(load_settings())
    forget_clients()
    vault.put({"client_secret": [SECRET]})
    with pytest.raises(
        UsageError, match=r"\(TOTES_DASHBOARD_OIDC_SECRET\) has a client_s"
    ) as error:
        sign_in(load_settings())
    assert SECRET not in str(error.value)
