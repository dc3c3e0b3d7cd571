"""DSN parts and other values from AWS Secrets Manager, where a secret is a JSON object."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from botocore.exceptions import ClientError, ParamValidationError

from totes.aws_client import AWS_ERRORS, UNREACHABLE, aws_client, describe, error_code, explain
from totes.config.dsn import Dsn
from totes.errors import TotesError, UsageError

MAX_AGE_SECONDS = 300
"""How long a process caches a secret. If its password is rejected, it is fetched immediately."""

_LIBPQ_KEYWORDS = ("host", "port", "dbname", "user", "password", "sslmode", "sslrootcert")
_KEYWORD_OF_FIELD = {keyword: keyword for keyword in _LIBPQ_KEYWORDS} | {"username": "user"}
"""The libpq keyword for each field of a secret. Other fields, which RDS writes, are ignored."""

_REQUIRED_KEYWORDS = ("host", "dbname", "user", "password")

_NO_NAME = "this is not the name or ARN of a secret"

_PERMANENT_ERRORS = {
    "ResourceNotFoundException": "there is no such secret in this account and region",
    "DecryptionFailure": "its key can't be used: grant kms:Decrypt",
    "EncryptionFailure": "its key can't be used: grant kms:GenerateDataKey and kms:Decrypt",
    "InvalidRequestException": "it is scheduled for deletion",
    "InvalidParameterException": _NO_NAME,
    "ValidationException": _NO_NAME,
}
"""Error codes of Secrets Manager that a retry can't fix, and their explanation."""

_RIGHTS = {
    "read": "secretsmanager:GetSecretValue, and kms:Decrypt",
    "written": "secretsmanager:PutSecretValue, and kms:GenerateDataKey and kms:Decrypt",
}
"""What each use of a secret needs; rights for KMS only if the secret has its own key."""


def read_secret_dsn(name: str, setting: str, dsn: Dsn | None, unavailable: type[TotesError]) -> Dsn:
    """Return the DSN with the parts in secret `name`, which take precedence over those of `dsn`.

    The DSN fetches the secret again when its password is rejected. Raises UsageError, which names
    `setting` (`TOTES_…_SECRET`), if the secret is invalid, and `unavailable` if it can't be read
    temporarily.
    """
    label = _label(name, setting)

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
    label = _label(name, setting)
    text = _fetch(name, label, UsageError, force=False)
    return _parse(text, label, {field: field for field in fields})


def read_secret_uncached(
    name: str, setting: str, unavailable: type[TotesError]
) -> dict[str, str] | None:
    """Return the parts of a DSN that secret `name` has now, by libpq keyword; None if it is empty.

    Raises UsageError or `unavailable` as `read_secret_dsn` does.
    """
    label = _label(name, setting)
    text = _fetch(name, label, unavailable, force=True)
    return None if text is None else _parse(text, label, _KEYWORD_OF_FIELD)


def write_secret(
    name: str, setting: str, fields: Mapping[str, str | int], unavailable: type[TotesError]
) -> None:
    """Make the fields the value of secret `name`, which must exist.

    Raises UsageError or `unavailable` as `read_secret_dsn` does.
    """
    text = json.dumps(fields)
    with _convert_errors(_label(name, setting), "written", unavailable):
        client = aws_client("secretsmanager", name)
        client.put_secret_value(SecretId=name, SecretString=text)
    _fetched[name] = _Fetched(text, time.monotonic())


def _label(name: str, setting: str) -> str:
    return f"The secret {name} ({setting})"


def _dsn_setting(setting: str) -> str:
    return f"{setting.removesuffix('SECRET')}DSN"


def _parse(text: str | None, label: str, names: Mapping[str, str]) -> dict[str, str]:
    """Return the values of the fields in `names`, by the name that it has for them.

    Raises UsageError, without the text, if it is not a JSON object with such values.
    """
    if text is None:
        raise UsageError(
            f'{label} has no value yet: write a JSON object such as {{"username": "…", '
            '"password": "…"}} into it.'
        )
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


class _Fetched(NamedTuple):
    text: str
    at: float


_fetched: dict[str, _Fetched] = {}
"""The secrets that this process has read, by name."""


def _fetch(name: str, label: str, unavailable: type[TotesError], *, force: bool) -> str | None:
    """Return the text of a secret, from the cache unless `force`; None if it has no value yet."""
    cached = _fetched.get(name)
    if cached and not force and time.monotonic() - cached.at < MAX_AGE_SECONDS:
        return cached.text
    with _convert_errors(label, "read", unavailable):
        try:
            response = aws_client("secretsmanager", name).get_secret_value(SecretId=name)
        except ClientError as error:
            if "staging label" in str(error):  # the secret exists: it has no current version
                return None
            raise
    text = str(response.get("SecretString", ""))
    _fetched[name] = _Fetched(text, time.monotonic())
    return text


@contextmanager
def _convert_errors(label: str, done: str, unavailable: type[TotesError]) -> Iterator[None]:
    """Raise UsageError for an error of AWS, or `unavailable` if a retry may help.

    `done` is what was to be done with the secret, one of _RIGHTS.
    """
    try:
        yield
    except AWS_ERRORS as error:
        explanation = explain(error)
        code = error_code(error) if isinstance(error, ClientError) else ""
        if code == "AccessDeniedException":
            rights = f"{_RIGHTS[done]} if it has its own key"
            reason = f"these credentials do not allow it: grant {rights}"
        elif isinstance(error, ParamValidationError):
            reason = _NO_NAME
        elif explanation is not None and explanation is not UNREACHABLE:
            reason = str(explanation)
        elif code in _PERMANENT_ERRORS:
            reason = _PERMANENT_ERRORS[code]
        else:
            reason = code or describe(error)
            raise unavailable(f"{label} is temporarily unavailable: {reason}.") from error
        raise UsageError(f"{label} can't be {done}: {reason}.") from error
