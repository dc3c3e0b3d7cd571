"""DSN parts and other values from AWS Secrets Manager, where a secret is a JSON object."""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from totes.config.settings import Dsn
from totes.errors import TotesError, UsageError

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.parameters import SecretsProvider

MAX_AGE_SECONDS = 300
"""How long a process caches a secret. If its password is rejected, it is fetched immediately."""

_LIBPQ_KEYWORDS = ("host", "port", "dbname", "user", "password", "sslmode", "sslrootcert")
_KEYWORD_OF_FIELD = {keyword: keyword for keyword in _LIBPQ_KEYWORDS} | {"username": "user"}
"""The libpq keyword for each field of a secret. Other fields, which RDS writes, are ignored."""

_REQUIRED_KEYWORDS = ("host", "dbname", "user", "password")

_PERMANENT_ERRORS = {
    "ResourceNotFoundException": "there is no such secret in this account and region",
    "AccessDeniedException": "these credentials may not read it: grant secretsmanager:"
    "GetSecretValue, and kms:Decrypt if it has its own key",
    "DecryptionFailure": "its key can't be used: grant kms:Decrypt",
    "InvalidRequestException": "it is scheduled for deletion, or has no value yet",
    "InvalidParameterException": "this is not the name or ARN of a secret",
    "ValidationException": "this is not the name or ARN of a secret",
    "UnrecognizedClientException": "the credentials are not valid",
    "InvalidClientTokenId": "the credentials are not valid",
    "ExpiredTokenException": "the credentials have expired",
}
"""AWS error codes that a retry can't fix, and their explanation."""


def read_secret_dsn(name: str, setting: str, dsn: Dsn | None, unavailable: type[TotesError]) -> Dsn:
    """Return the DSN with the parts in secret `name`, which take precedence over those of `dsn`.

    The DSN fetches the secret again when its password is rejected. Raises UsageError, which names
    `setting` (`TOTES_…_SECRET`), if the secret is invalid, and `unavailable` if it can't be read
    temporarily.
    """
    label = f"The secret {name} ({setting})"

    def read(*, force: bool = False) -> Dsn:
        parts = _parse(_fetch(name, label, unavailable, force=force), label, _KEYWORD_OF_FIELD)
        base = dsn or Dsn("")
        missing = [part for part in _REQUIRED_KEYWORDS if part not in parts and not base.has(part)]
        if missing:
            raise UsageError(
                f"{label} has no {', '.join(missing)}: add it to the secret"
                f"{'' if missing == ['password'] else f' or to {_dsn_setting(setting)}'}."
            )
        try:
            return base.replace(**parts)
        except Exception:  # noqa: BLE001  the driver's message repeats the text
            raise UsageError(f"{label} has a value that libpq rejects.") from None

    return read().set_renewal(lambda: read(force=True))


def read_secret_fields(name: str, setting: str, fields: Sequence[str]) -> dict[str, str]:
    """Return those of the fields that secret `name` has, as texts.

    Raises UsageError, which names `setting` (`TOTES_…_SECRET`), if the secret can't be read.
    """
    label = f"The secret {name} ({setting})"
    text = _fetch(name, label, UsageError, force=False)
    return _parse(text, label, {field: field for field in fields})


def _dsn_setting(setting: str) -> str:
    return f"{setting.removesuffix('SECRET')}DSN"


def _parse(text: str, label: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the fields in `names`, by the name that it has for them.

    Raises UsageError, without the text, if it is not a JSON object with such values.
    """
    try:
        fields = json.loads(text)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise UsageError(
            f'{label} is not a JSON object such as {{"username": "…", "password": "…"}}.'
        )
    parts = {
        names[field]: value for field, value in fields.items() if field in names and value != ""
    }
    if invalid := [key for key, value in parts.items() if not isinstance(value, str | int)]:
        raise UsageError(f"{label} has a {invalid[0]} that is neither a string nor a number.")
    return {key: str(value) for key, value in parts.items()}


def _fetch(name: str, label: str, unavailable: type[TotesError], *, force: bool) -> str:
    from botocore.exceptions import (  # noqa: PLC0415  AWS is optional
        BotoCoreError,
        ClientError,
        NoCredentialsError,
        NoRegionError,
    )

    provider = _provider(label)
    from aws_lambda_powertools.utilities.parameters.exceptions import (  # noqa: PLC0415
        GetParameterError,
    )

    try:
        value = provider.get(name, max_age=MAX_AGE_SECONDS, force_fetch=force)
    except GetParameterError as error:
        match error.__context__:
            case ClientError(response={"Error": {"Code": str(code)}}) if code in _PERMANENT_ERRORS:
                raise UsageError(f"{label} can't be read: {_PERMANENT_ERRORS[code]}.") from error
            case NoCredentialsError() | NoRegionError() as cause:
                raise UsageError(f"{label} can't be read: {_one_line(cause)}.") from error
            case ClientError(response={"Error": {"Code": str(code)}}):
                raise unavailable(f"{label} is temporarily unavailable: {code}.") from error
            case BotoCoreError() as cause:
                raise unavailable(
                    f"{label} is temporarily unavailable: {_one_line(cause)}."
                ) from error
            case _:
                raise
    return value if isinstance(value, str) else ""


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")


def _provider(label: str) -> "SecretsProvider":
    try:
        return _cached_provider()
    except ImportError:
        raise UsageError(
            f"{label} can't be read: install terrific-totes[aws], which has the AWS packages."
        ) from None


@cache
def _cached_provider() -> "SecretsProvider":
    """Return the provider of this process, which caches secrets and its connection."""
    from aws_lambda_powertools.utilities.parameters import SecretsProvider  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    # A Lambda function that waits here costs money: six seconds per attempt at most.
    config = Config(connect_timeout=2, read_timeout=4, retries={"total_max_attempts": 3})
    return SecretsProvider(boto_config=config)
