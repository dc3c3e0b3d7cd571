"""Types of settings and options, such as durations, sizes and URLs, and how texts are parsed."""

import os
import re
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
)
from pydantic_settings import NoDecode

from totes.config.dsn import Dsn, is_loopback, warn_without_tls
from totes.errors import UsageError


def _parse_duration(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)(ms|s|m|h|d)", str(value).strip(), re.ASCII)
    if match is None:
        raise ValueError("must be a duration such as 500ms, 5s, 10m, 1h or 30d")
    unit = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}[match[2]]
    return timedelta(seconds=float(match[1]) * unit)


Duration = Annotated[timedelta, BeforeValidator(_parse_duration)]
"""A duration such as `5s`, `500ms`, `10m`, `1h` or `30d`."""

MINIMUM_MEMORY_MB = 256
"""Suffices for any number of rows of usual width."""


def _parse_megabytes(value: object, at_least: int = 0) -> object:
    if isinstance(value, int):
        return value
    match = re.fullmatch(r"(\d{1,6})\s?(MB|GB)|0", str(value).strip(), re.ASCII | re.IGNORECASE)
    megabytes = int(match[1] or 0) * {"GB": 1000}.get(str(match[2]).upper(), 1) if match else -1
    if megabytes < at_least:
        raise ValueError(f"must be a size of at least {at_least}MB, such as 512MB or 2GB")
    return megabytes


Size = Annotated[int, BeforeValidator(_parse_megabytes)]
"""A size in megabytes, such as `0MB` or `2GB`."""

Megabytes = Annotated[int, BeforeValidator(partial(_parse_megabytes, at_least=MINIMUM_MEMORY_MB))]
"""A size in megabytes of at least `256MB`."""


Percentage = Annotated[
    int, Field(ge=1, le=100), BeforeValidator(lambda value: str(value).removesuffix("%"))
]
"""A percentage such as `25%`."""


def _split_names(value: object) -> object:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_names)]
"""Names, separated by commas."""


def _expand_home(value: object) -> object:
    """Replace a leading `~` of a path by the home folder; URLs are not changed."""
    if not isinstance(value, str | Path):
        return value
    text = os.path.expanduser(str(value))  # noqa: PTH111  Path.expanduser raises RuntimeError
    home = str(value).partition("/")[0]
    if text.startswith("~") or (home == "~" and os.environ.get("HOME") == ""):
        raise ValueError(f"{home} has no home folder: write the full path, or set HOME")
    if "\0" in text:
        raise ValueError("must not contain a null character")
    return text


HomePath = Annotated[Path, BeforeValidator(_expand_home)]
"""A path, which may begin with `~`."""

PathOrUrl = Annotated[str, BeforeValidator(_expand_home)]
"""A folder's path or a URL."""


def _check_rates_url(value: str | None) -> str | None:
    parts = urlsplit(value or "")
    is_file = parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path
    is_web = parts.scheme in {"http", "https"} and parts.hostname
    is_folder = parts.scheme == "s3" and parts.netloc and parts.path.strip("/")
    if value and not (is_file or is_web or is_folder):
        raise ValueError(
            "must be a URL that begins with https://, http:// or file:///, or s3://bucket/prefix"
        )
    return value


RatesUrl = Annotated[str | None, AfterValidator(_check_rates_url)]
"""Where newer exchange rates are read, such as `https://…` or `s3://bucket/prefix`."""


def _parse_catalogue(value: object) -> object:
    """Return an Iceberg catalogue: the DSN of a database, else the text."""
    text = str(value)
    if isinstance(value, Dsn) or text.startswith(("postgresql://", "postgres://")):
        return value if isinstance(value, Dsn) else Dsn(text)
    if not re.fullmatch(r"sqlite:///.+|glue(:[a-z0-9_]{1,255})?", text, re.ASCII):
        raise ValueError(
            "must be sqlite:///PATH, a libpq URL that begins with postgresql://, glue, or "
            "glue:DATABASE"
        )
    return text


IcebergCatalog = Annotated[str | Dsn, PlainValidator(_parse_catalogue)]
"""Where the Iceberg tables are registered."""


MAX_LINE_LENGTH = 60

_SECURE_URL = "must be an https:// URL, or http:// of this machine"


def _check_secure_url(value: str | None) -> str | None:
    """Return a URL without a trailing slash; http is allowed for a loopback address only."""
    parts = urlsplit(value or "")
    is_secure = parts.scheme == "https" or (
        parts.scheme == "http" and is_loopback(parts.hostname or "")
    )
    if value and not (is_secure and parts.hostname and not parts.username):
        raise ValueError(_SECURE_URL)
    return value and value.rstrip("/")


SecureUrl = Annotated[str | None, AfterValidator(_check_secure_url)]
"""An https URL, or http of this machine."""


def _check_origin(url: str | None) -> str | None:
    if url and (urlsplit(url).path or urlsplit(url).query or urlsplit(url).fragment):
        raise ValueError("must have no path, such as https://totes.example")
    return url


Origin = Annotated[SecureUrl, AfterValidator(_check_origin)]
"""A SecureUrl without a path."""


def _check_users(users: tuple[str, ...]) -> tuple[str, ...]:
    for user in users:
        if not re.fullmatch(r"[^@\s]*@[^@\s]+", user):
            raise ValueError(f"{user!r} is neither an email address nor @ and a domain")
    return users


Users = Annotated[Names, AfterValidator(_check_users)]
"""Email addresses and domains, separated by commas."""


def _check_sites(sites: tuple[str, ...]) -> tuple[str, ...]:
    for site in sites:
        if not re.fullmatch(r"https?://(\*\.)?[A-Za-z0-9.-]+(:\d+)?", site, re.ASCII):
            raise ValueError(f"{site!r} is not a site such as https://portal.example")
    return sites


Sites = Annotated[Names, AfterValidator(_check_sites)]
"""Sites such as `https://portal.example`, separated by commas."""


def _check_line(text: str) -> str:
    if len(text) > MAX_LINE_LENGTH or not text.isprintable():
        raise ValueError(f"must be one line of at most {MAX_LINE_LENGTH} characters")
    return text


Line = Annotated[str, AfterValidator(_check_line)]
"""A short line of text."""


def _check_host(address: str | None) -> str | None:
    """Return a host with an optional port."""
    try:
        parts = urlsplit(f"//{address or ''}")
        is_valid = parts.hostname and parts.port != 0 and parts.netloc == address
    except ValueError:
        is_valid = False
    if address and (not is_valid or "@" in address):
        raise ValueError("must be a host, or a host and a port such as mail.example.com:587")
    return address


Host = Annotated[str | None, AfterValidator(_check_host)]
"""A host, or a host and a port."""


def _check_sender(sender: str | None) -> str | None:
    if sender and not (sender.isprintable() and re.search(r"[^@\s]@[^@\s]", sender)):
        raise ValueError("must be an email address, or a name and <address>")
    return sender


Sender = Annotated[str | None, AfterValidator(_check_sender)]
"""An email address, or a name and `<address>`."""


def _check_currency(code: str) -> str:
    if not re.fullmatch("[A-Z]{3}", code):
        raise ValueError("must be a currency's code such as EUR")
    return code


CurrencyCode = Annotated[str, AfterValidator(_check_currency)]
"""The code of a currency, such as `EUR`."""


def _parse_month(value: object) -> object:
    if not re.fullmatch(r"[1-9]|1[0-2]", str(value).strip(), re.ASCII):
        raise ValueError("must be a month from 1 to 12")
    return int(str(value))


Month = Annotated[int, BeforeValidator(_parse_month)]
"""A month, 1 to 12."""


def _check_time_zone(name: str) -> str:
    try:
        return name if name == "UTC" else ZoneInfo(name).key  # some machines have no time zones
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a time zone such as Europe/London, or UTC") from None


TimeZone = Annotated[str, AfterValidator(_check_time_zone)]
"""A time zone such as `Europe/London`."""


def _check_slot(name: str) -> str:
    if not re.fullmatch("[a-z0-9_]{1,63}", name):
        raise ValueError("must have at most 63 lower-case letters, digits and underscores")
    return name


SlotName = Annotated[str, AfterValidator(_check_slot)]
"""The name of a replication slot."""


def _check_program_url(url: str | None) -> str | None:
    parts = urlsplit(url or "")
    if url and not (parts.scheme == "s3" and parts.netloc and parts.path.strip("/")):
        raise ValueError("must be s3://bucket/prefix")
    return url and url.rstrip("/")


ProgramUrl = Annotated[str | None, AfterValidator(_check_program_url)]
"""`s3://bucket/prefix`."""


def parse_duration(text: str, name: str) -> timedelta:
    """Return the duration of option `name`, such as `5s`; UsageError if it is invalid."""
    return _parse_option(Duration, text, name)


def parse_dsn(text: str, name: str) -> Dsn:
    """Return the DSN of option `name`; UsageError, without the text, if it is invalid."""
    dsn = _parse_option(Dsn, text, name)
    warn_without_tls(dsn, f"Option {name}")
    return dsn


def parse_path_or_url(text: str, name: str) -> str:
    """Return the folder or URL of option `name`; UsageError if it is invalid."""
    return _parse_option(PathOrUrl, text, name)


def _parse_option[T](kind: type[T], text: str, name: str) -> T:
    try:
        return TypeAdapter(kind).validate_python(text)
    except ValidationError as error:
        reason = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"Option {name} {reason}.") from None
