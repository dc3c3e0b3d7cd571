"""Passwords out of Secrets Manager: what is in a secret is used or refused, and never shown."""

import itertools
import json
import sys
import traceback
from collections.abc import Iterator
from dataclasses import replace

import boto3
import pytest
from installation import Installation
from s3_service import Fault, S3Service

from totes.config import secrets as secret
from totes.config.resources import Places
from totes.config.settings import Dsn, listed, load_settings
from totes.errors import SourceAway, SourceError, TotesError, UsageError, WarehouseAway
from totes.source.session import connect

SECRET = "open sesame/%$'"
PARTS = {"host": "db.example", "port": 5433, "dbname": "totesys", "username": "me"}
NUMBERS = itertools.count(1)
WHOLE = {**PARTS, "password": SECRET, "engine": "postgres", "sslmode": "require"}


class Vault:
    """Secrets Manager, with one secret that a test may change."""

    def __init__(self, name: str) -> None:
        self._client = boto3.client("secretsmanager")
        self.name = name

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
    secret._kept_provider.cache_clear()
    made = Vault(f"totes/{next(NUMBERS)}")
    monkeypatch.setenv("TOTES_SOURCE_SECRET", made.name)
    yield made
    service.fail(None)
    secret._kept_provider.cache_clear()


def source() -> Dsn:
    return Places(load_settings()).source


def refusal(kind: type[TotesError]) -> str:
    """What is said of a secret that can't be used; nothing of it is shown, nor with a traceback."""
    with pytest.raises(kind) as raised:
        _ = source()
    assert "sesame" not in "".join(traceback.format_exception(raised.value))
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_secret_is_a_whole_dsn(vault: Vault) -> None:
    vault.put(WHOLE)
    assert str(source()) == "me@db.example:5433/totesys"
    assert source().parts["sslmode"] == "require"
    assert Dsn(source().reveal()) == Dsn("").replace(
        host="db.example", port="5433", dbname="totesys", user="me", password=SECRET,
        sslmode="require",
    )  # fmt: skip


def test_a_secret_of_rds_has_user_and_password_alone_and_the_dsn_the_rest(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put({"username": "me", "password": SECRET})
    monkeypatch.setenv(
        "TOTES_SOURCE_DSN", "postgresql://you:old@db.example/totesys?sslmode=require"
    )
    assert str(source()) == "me@db.example/totesys"
    assert SECRET not in str({one.name: one.value for one in listed(load_settings())})
    assert "old" not in source().reveal()
    monkeypatch.setenv("TOTES_SOURCE_DSN", "host=db.example")
    assert refusal(UsageError).endswith(
        "(TOTES_SOURCE_SECRET) lacks dbname: put it there, or into TOTES_SOURCE_DSN."
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (SECRET, "is not a JSON object such as"),
        (f'["{SECRET}"]', "is not a JSON object such as"),
        (f'{{"password": "{SECRET}"', "is not a JSON object such as"),
        (PARTS, "lacks password: put it there."),
        ({"api_key": SECRET}, "lacks host, dbname, user, password: put it there, or into TOTES_SO"),
        ({**WHOLE, "password": [SECRET]}, "has a password that is neither a text nor a number"),
        ({**WHOLE, "password": f"{SECRET}\0"}, "holds a part that libpq doesn't take"),
    ],
)
def test_a_secret_that_is_no_dsn_is_refused_without_showing_it(
    vault: Vault, content: object, said: str
) -> None:
    vault.put(content)
    assert refusal(UsageError).startswith(f"The secret {vault.name} (TOTES_SOURCE_SECRET) ")
    assert said in refusal(UsageError)


def test_a_secret_that_is_not_there_is_named(vault: Vault) -> None:
    assert refusal(UsageError) == (
        f"The secret {vault.name} (TOTES_SOURCE_SECRET) can't be read: "
        "there is no such secret in this account and region."
    )


REFUSED = "400 Bad Request"


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize(
    ("fault", "kind", "said"),
    [
        (Fault("", REFUSED, "AccessDeniedException"), UsageError, "may not read it: grant secrets"),
        (Fault("", REFUSED, "ExpiredTokenException"), UsageError, "the credentials have expired"),
        (Fault("", "500 Oh No", "InternalServiceError"), SourceAway, "just now: InternalService"),
    ],
)
def test_a_refusal_of_secrets_manager_is_one_sentence(
    service: S3Service, fault: Fault, kind: type[TotesError], said: str
) -> None:
    service.fail(replace(fault, method="POST"))
    assert said in refusal(kind)


def test_a_secrets_manager_that_is_away_is_asked_again_later(
    vault: Vault, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault.put(WHOLE)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("TOTES_WAREHOUSE_SECRET", vault.name)
    assert "can't be read just now: Could not connect" in refusal(SourceAway)
    with pytest.raises(WarehouseAway, match=r"\(TOTES_WAREHOUSE_SECRET\) can't be read just now"):
        _ = Places(load_settings()).warehouse


@pytest.mark.usefixtures("vault")
def test_without_the_extra_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aws_lambda_powertools.utilities.parameters", None)
    assert "install terrific-totes[aws]" in refusal(UsageError)


def test_a_password_that_may_travel_in_the_clear_is_warned_of(
    vault: Vault, caplog: pytest.LogCaptureFixture
) -> None:
    vault.put({**WHOLE, "sslmode": "prefer"})
    _ = source()
    [line] = [record.getMessage() for record in caplog.records]
    assert line.startswith("TOTES_SOURCE_SECRET (me@db.example:5433/totesys) may send its password")
    assert "sesame" not in line


def test_a_totesys_that_a_secret_names_is_only_ever_read(vault: Vault) -> None:
    vault.put(WHOLE)
    with pytest.raises(UsageError, match="only ever read"):
        _ = Places(load_settings()).business


def as_secret(dsn: Dsn, **others: str) -> dict[str, str]:
    """What a secret of this database holds; the embedded servers ask no password of anyone."""
    known = {key: str(value) for key, value in dsn.parts.items()}
    return {**known, "password": SECRET, **others}


def test_a_rotated_password_is_fetched_anew_once(
    vault: Vault, service: S3Service, installation: Installation, caplog: pytest.LogCaptureFixture
) -> None:
    """Here the user is another, too, as with rotation between two users."""
    vault.put(as_secret(installation.source, user="former"))
    known = source()
    with pytest.raises(SourceError, match='role "former" does not exist'), connect(known):
        pass
    vault.put(as_secret(installation.source))
    with caplog.at_level("INFO", "totes"), connect(known) as first:
        assert first.info.user == installation.source.parts["user"]
    assert "former" in caplog.text
    assert "sesame" not in caplog.text
    service.fail(Fault("POST", "500 Oh No", "InternalServiceError"))
    with connect(known):
        assert service.faults == 0, "what was fetched is kept"


def test_the_command_line_reads_secrets_too(vault: Vault, installation: Installation) -> None:
    installation.filled(3)
    vault.put(as_secret(installation.source))
    named = installation.having(source_dsn="", source_secret=vault.name)
    assert named.totes("run", "--once").exit_code == 0
    checked = named.totes("check")
    assert checked.exit_code == 0, checked.output
    shown = named.totes("settings").output
    assert vault.name in shown
    assert "sesame" not in checked.output + shown
