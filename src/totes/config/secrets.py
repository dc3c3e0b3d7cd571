"""Passwords out of AWS Secrets Manager: a secret's JSON as parts of a DSN."""

import json
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from totes.config.settings import Dsn
from totes.errors import TotesError, UsageError

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters import SecretsProvider

MAX_AGE_SECONDS = 300
"""How long a process keeps a secret; one that is refused before is fetched anew at once."""

_SAME = ("host", "port", "dbname", "user", "password", "sslmode", "sslrootcert")
_PARTS = {part: part for part in _SAME} | {"username": "user"}
"""A secret's keys, and libpq's for them; RDS writes more, which is nobody's business here."""

_NEEDED = ("host", "dbname", "user", "password")

_REFUSALS = {
    "ResourceNotFoundException": "there is no such secret in this account and region",
    "AccessDeniedException": "these credentials may not read it: grant secretsmanager:"
    "GetSecretValue, and kms:Decrypt where it has a key of its own",
    "DecryptionFailure": "its key can't be used: grant kms:Decrypt",
    "InvalidRequestException": "it is to be deleted, or has no value yet",
    "InvalidParameterException": "that is no name or ARN of a secret",
    "ValidationException": "that is no name or ARN of a secret",
    "UnrecognizedClientException": "the credentials are not valid",
    "InvalidClientTokenId": "the credentials are not valid",
    "ExpiredTokenException": "the credentials have expired",
}
"""AWS's codes that no later try mends, and what they mean to a person."""


def secret_dsn(name: str, setting: str, dsn: Dsn | None, away: type[TotesError]) -> Dsn:
    """The DSN whose parts are in secret `name`; `dsn` has the others, and yields to it.

    Fetched anew by itself where its password is refused. UsageError names the `TOTES_…_SECRET` in
    `setting` where the secret can't be meant, `away` is raised where it can't be had just now.
    """

    def made(*, force: bool = False) -> Dsn:
        where = f"The secret {name} ({setting})"
        parts = _parts(_fetched(name, where, away, force=force), where)
        base = dsn or Dsn("")
        lacking = [part for part in _NEEDED if part not in parts and not base.has(part)]
        if lacking:
            raise UsageError(
                f"{where} lacks {', '.join(lacking)}: put it there"
                f"{'' if lacking == ['password'] else f', or into {_dsn_setting(setting)}'}."
            )
        try:
            return base.replace(**parts)
        except Exception:  # noqa: BLE001  the driver's message repeats the text
            raise UsageError(f"{where} holds a part that libpq doesn't take.") from None

    return made().renewed_by(lambda: made(force=True))


def _dsn_setting(setting: str) -> str:
    return f"{setting.removesuffix('SECRET')}DSN"


def _parts(text: str, where: str) -> dict[str, str]:
    """Libpq's keywords; UsageError, which doesn't repeat the text, where it is no such JSON."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(
            f'{where} is not a JSON object such as {{"username": "…", "password": "…"}}.'
        )
    parts = {_PARTS[key]: value for key, value in found.items() if key in _PARTS and value != ""}
    if wrong := [key for key, value in parts.items() if not isinstance(value, str | int)]:
        raise UsageError(f"{where} has a {wrong[0]} that is neither a text nor a number.")
    return {key: str(value) for key, value in parts.items()}


def _fetched(name: str, where: str, away: type[TotesError], *, force: bool) -> str:
    from botocore.exceptions import (  # noqa: PLC0415  who has no secret needs no AWS
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        NoRegionError,
    )

    provider = _provider(where)
    from aws_lambda_powertools.utilities.parameters.exceptions import (  # noqa: PLC0415
        GetParameterError,
    )

    try:
        value = provider.get(name, max_age=MAX_AGE_SECONDS, force_fetch=force)
    except GetParameterError as error:
        match error.__context__:
            case ClientError(response={"Error": {"Code": str(code)}}) if code in _REFUSALS:
                raise UsageError(f"{where} can't be read: {_REFUSALS[code]}.") from error
            case NoCredentialsError() | NoRegionError() as lacking:
                raise UsageError(f"{where} can't be read: {_line(lacking)}.") from error
            case ClientError(response={"Error": {"Code": str(code)}}):
                raise away(f"{where} can't be read just now: {code}.") from error
            case BotoCoreError() as failed:
                raise away(f"{where} can't be read just now: {_line(failed)}.") from error
            case _:
                raise
    return value if isinstance(value, str) else ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


_Provider = Callable[[], "SecretsProvider"]


def _provider(where: str) -> "SecretsProvider":
    try:
        return _kept_provider()
    except ImportError:
        raise UsageError(
            f"{where} can't be read: install terrific-totes[aws], which has what it takes."
        ) from None


@cache
def _kept_provider() -> "SecretsProvider":
    """One for the process: it keeps what it has fetched, and its connection."""
    from aws_lambda_powertools.utilities.parameters import SecretsProvider  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    # Of six seconds at most: a function that hangs here is paid for.
    patience = Config(connect_timeout=2, read_timeout=4, retries={"total_max_attempts": 3})
    return SecretsProvider(boto_config=patience)
