"""Settings, from the environment (`TOTES_…`) or `totes.toml`; `totes settings` lists them."""

import difflib
import logging
import os
import re
import stat
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from ipaddress import ip_address
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, Self
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    PlainValidator,
    SecretStr,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import CoreSchema, core_schema
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from totes.errors import UsageError

log = logging.getLogger(__name__)

_SECRET_KEYWORDS = frozenset(
    {"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"}
)
"""Keywords of libpq whose values are never shown."""

_OPTIONAL_TLS = frozenset({"disable", "allow", "prefer"})
"""Values of `sslmode` that permit an unencrypted connection."""


class Dsn:
    """A libpq connection string; it is printed without secrets and can't be pickled."""

    __slots__ = ("_parts", "_renew", "_renewed", "_value")

    def __init__(self, value: str) -> None:
        """Parse `value`, a libpq URL or keyword string; ValueError if libpq can't."""
        try:
            parts = conninfo_to_dict(value)
        except Exception:  # noqa: BLE001  psycopg's message repeats the text, password included
            raise ValueError("is not a libpq connection URL") from None
        if _has_unescaped_password(value):
            raise ValueError(
                "is not a libpq connection URL: write @ and / in a password as %40 and %2F"
            )
        self._value = SecretStr(value)
        self._parts = {
            k: v if k not in _SECRET_KEYWORDS else SecretStr(str(v)) for k, v in parts.items()
        }
        self._renew: Callable[[], Dsn] | None = None
        self._renewed: Dsn | None = None

    def reveal(self) -> str:
        """Return the DSN with its secrets, for the driver."""
        return self._renewed.reveal() if self._renewed else self._value.get_secret_value()

    def connect[T](self, connect: Callable[[str], T]) -> T:
        """Return `connect(dsn)` for the DSN with its secrets.

        If the server rejects the password, fetch the DSN again, once, and keep a changed one.
        """
        current = self.reveal()
        try:
            return connect(current)
        except psycopg.OperationalError as error:
            if self._renew is None or not _is_login_rejected(error):
                raise
            renewed = self._renew()
            if renewed.reveal() == current:
                raise
        self._renewed = renewed
        log.info("The password of %s was rejected: using the new password of its secret.", self)
        return connect(renewed.reveal())

    def set_renewal(self, renew: "Callable[[], Dsn]") -> Self:
        """Set the function that fetches the DSN again, and return self."""
        self._renew = renew
        return self

    def replace(self, **parts: str) -> Self:
        """Return a copy with different values for these libpq keywords."""
        return type(self)(make_conninfo(self.reveal(), **parts))

    def has(self, part: str) -> bool:
        """Return whether a libpq keyword is set, also a secret one."""
        return part in self._parts

    @property
    def parts(self) -> dict[str, object]:
        """The libpq keywords and values, without the secret ones."""
        return {k: v for k, v in self._parts.items() if k not in _SECRET_KEYWORDS}

    @property
    def may_lack_tls(self) -> bool:
        """Whether a password can be sent over a network unencrypted, if the server has no TLS."""
        mode = self._parts.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"
        return mode in _OPTIONAL_TLS and self._has_password and any(map(_is_remote, self._hosts))

    @property
    def _has_password(self) -> bool:
        passfile = self._parts.get("passfile") or os.environ.get("PGPASSFILE") or "~/.pgpass"
        is_set = bool(self._parts.get("password") or os.environ.get("PGPASSWORD"))
        # Path.expanduser raises RuntimeError if the user has no home folder.
        return is_set or Path(os.path.expanduser(str(passfile))).is_file()  # noqa: PTH111

    @property
    def _hosts(self) -> list[str]:
        """The hosts that libpq can connect to: the address if there is one, else the name."""
        hosts = str(self._parts.get("host") or os.environ.get("PGHOST") or "").split(",")
        addresses = str(self._parts.get("hostaddr") or os.environ.get("PGHOSTADDR") or "").split(
            ","
        )
        return [address or host for host, address in zip_longest(hosts, addresses, fillvalue="")]

    def __str__(self) -> str:
        parts = self.parts
        user = f"{parts['user']}@" if parts.get("user") else ""
        port = f":{parts['port']}" if parts.get("port") else ""
        return f"{user}{parts.get('host', '')}{port}/{parts.get('dbname', '')}"

    def __repr__(self) -> str:
        return f"Dsn({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dsn) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("A Dsn can't be pickled: its password would be in plain text.")

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            lambda value: value if isinstance(value, cls) else cls(str(value)),
            serialization=core_schema.to_string_ser_schema(),
        )


_LOGIN_REJECTIONS = re.compile(
    "authentication failed|no password supplied|role .* (does not exist|is not permitted to log in)"
)
"""Messages of servers about a rejected login, which libpq reports without an SQLSTATE."""


def _is_login_rejected(error: psycopg.OperationalError) -> bool:
    """Return whether a server rejects user or password."""
    if error.sqlstate is not None:
        return error.sqlstate.startswith("28")
    return _LOGIN_REJECTIONS.search(str(error)) is not None


def _has_unescaped_password(value: str) -> bool:
    """Return whether a password in a URL has an unescaped @ or /, which libpq would misread."""
    scheme, separator, rest = value.partition("://")
    if not separator or scheme not in {"postgresql", "postgres"}:
        return False
    authority, _, tail = rest.partition("/")
    return authority.count("@") > 1 or "@" in tail.partition("?")[0]


def _is_remote(host: str) -> bool:
    """Return whether a host is reached over a network: neither a socket nor this machine."""
    return not (host == "" or host.startswith(("/", "@")) or is_loopback(host))


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host's name or address."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


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


DEFAULT_MEMORY_MB = 256
"""The minimum, which suffices for any number of rows of usual width."""

DEFAULT_DASHBOARD_MEMORY_MB = 512


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

Megabytes = Annotated[int, BeforeValidator(partial(_parse_megabytes, at_least=DEFAULT_MEMORY_MB))]
"""A size in megabytes of at least `256MB`."""


Percentage = Annotated[
    int, Field(ge=1, le=100), BeforeValidator(lambda value: str(value).removesuffix("%"))
]
"""A percentage such as `25%`."""

DEFAULT_SOURCE_SHARE = 25

DEFAULT_CONNECTIONS = 2


def _split_names(value: object) -> object:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


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


def _check_origin(url: str | None) -> str | None:
    if url and (urlsplit(url).path or urlsplit(url).query or urlsplit(url).fragment):
        raise ValueError("must have no path, such as https://totes.example")
    return url


def _check_users(users: tuple[str, ...]) -> tuple[str, ...]:
    for user in users:
        if not re.fullmatch(r"[^@\s]*@[^@\s]+", user):
            raise ValueError(f"{user!r} is neither an email address nor @ and a domain")
    return users


def _check_sites(sites: tuple[str, ...]) -> tuple[str, ...]:
    for site in sites:
        if not re.fullmatch(r"https?://(\*\.)?[A-Za-z0-9.-]+(:\d+)?", site, re.ASCII):
            raise ValueError(f"{site!r} is not a site such as https://portal.example")
    return sites


def _check_line(text: str) -> str:
    if len(text) > MAX_LINE_LENGTH or not text.isprintable():
        raise ValueError(f"must be one line of at most {MAX_LINE_LENGTH} characters")
    return text


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


def _check_sender(sender: str | None) -> str | None:
    if sender and not (sender.isprintable() and re.search(r"[^@\s]@[^@\s]", sender)):
        raise ValueError("must be an email address, or a name and <address>")
    return sender


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


def _check_time_zone(name: str) -> str:
    try:
        return name if name == "UTC" else ZoneInfo(name).key  # some machines have no time zones
    except (KeyError, ValueError, OSError):
        raise ValueError("must be a time zone such as Europe/London, or UTC") from None


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_names)]
"""Names, separated by commas."""

Users = Annotated[Names, AfterValidator(_check_users)]
"""Email addresses and domains, separated by commas."""

SecureUrl = Annotated[str | None, AfterValidator(_check_secure_url)]


def _check_slot(name: str) -> str:
    if not re.fullmatch("[a-z0-9_]{1,63}", name):
        raise ValueError("must have at most 63 lower-case letters, digits and underscores")
    return name


def _check_program(url: str | None) -> str | None:
    parts = urlsplit(url or "")
    if url and not (parts.scheme == "s3" and parts.netloc and parts.path.strip("/")):
        raise ValueError("must be s3://bucket/prefix")
    return url and url.rstrip("/")


class Settings(BaseSettings):
    """All settings, their meaning and default."""

    model_config = SettingsConfigDict(
        env_prefix="TOTES_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    home: Annotated[Path, BeforeValidator(_expand_home)] = Field(
        default=Path(".totes"),
        description="folder of the embedded servers and, by default, of the lake",
    )
    source_dsn: Dsn | None = Field(
        default=None,
        description="libpq URL of the source [an embedded server, database totesys]",
    )
    warehouse_dsn: Dsn | None = Field(
        default=None,
        description="libpq URL of the warehouse [a second embedded server, database warehouse]",
    )
    dashboard_dsn: Dsn | None = Field(
        default=None,
        description="libpq URL of the warehouse for the dashboard, with a read-only role"
        " [the embedded warehouse's reader]",
    )
    source_secret: str | None = Field(
        default=None,
        description="name or ARN of a secret in AWS Secrets Manager, a JSON object with parts of "
        "the source's URL: host, port, dbname, username, password, sslmode, sslrootcert [none]",
    )
    warehouse_secret: str | None = Field(
        default=None, description="the same for the warehouse's URL [none]"
    )
    dashboard_secret: str | None = Field(
        default=None, description="the same for the dashboard's URL of the warehouse [none]"
    )
    warehouse_host: str | None = Field(
        default=None,
        description="name of the server on which `totes warehouse create` creates the warehouse; "
        "its port is 5432 [none]",
    )
    warehouse_master_secret: str | None = Field(
        default=None,
        description="name or ARN of a secret in AWS Secrets Manager, a JSON object with username "
        "and password of a role that may create roles and databases there [none]",
    )
    ingestion_url: PathOrUrl | None = Field(
        default=None,
        description="folder or s3://bucket/prefix of the ingestion store [HOME/lake/ingestion]",
    )
    processed_url: PathOrUrl | None = Field(
        default=None,
        description="folder or s3://bucket/prefix of the processed store [HOME/lake/processed]",
    )
    iceberg_catalog: IcebergCatalog | None = Field(
        default=None,
        description="catalogue in which the star is published as Iceberg tables: sqlite:///PATH, "
        "the libpq URL of a PostgreSQL database, glue, or glue:DATABASE [none: not published]",
    )
    iceberg_url: PathOrUrl | None = Field(
        default=None,
        description="folder or s3://bucket/prefix of the Iceberg tables' files [HOME/iceberg]",
    )
    source_schema: str = Field(default="public", description="the schema to ingest")
    exclude_tables: Names = Field(
        default=("_prisma_migrations",), description="tables not to ingest, separated by commas"
    )
    capture: Literal["scan", "log"] = Field(
        default="scan",
        description="scan: find changes by scanning the tables; log: read every version from the "
        "source's write-ahead log, which needs REPLICATION, a publication and a slot",
    )
    log_slot: Annotated[str, AfterValidator(_check_slot)] = Field(
        default="totes",
        description="replication slot in the source, which the first capture from the log creates",
    )
    log_publication: str = Field(
        default="totes", description="publication in the source, which `totes check` describes"
    )
    log_alarm: Megabytes = Field(
        default=1000,
        description="size of the write-ahead log that the slot retains in the source at which an "
        "alert is sent",
    )
    star: Path | None = Field(
        default=None,
        description="folder with the declaration, models and verify SQL of the star to build "
        "[the star of Terrific Totes, in the package]",
    )
    rates: bool = Field(
        default=True, description="on or off: whether batches contain the ECB's exchange rates"
    )
    rates_url: Annotated[str | None, AfterValidator(_check_rates_url)] = Field(
        default=None,
        description="https, http or file URL of newer exchange rates than those of the package: "
        "the ECB's eurofxref-hist.zip, or its CSV file; or s3://bucket/prefix, below which "
        "YYYY-MM-DD.zip is that file of a day [none]",
    )
    every: Duration = Field(
        default=timedelta(seconds=1), description="pause between runs in continuous mode"
    )
    source_share: Percentage = Field(
        default=DEFAULT_SOURCE_SHARE,
        description="largest share of the time during which continuous mode scans the source: "
        "after a long capture the pause is longer, up to a minute",
    )
    connections: Annotated[int, Field(ge=1, le=64)] = Field(
        default=DEFAULT_CONNECTIONS,
        description="number of connections that read one snapshot of the source; large tables that "
        "are captured in full are read by as many processes",
    )
    memory: Megabytes = Field(
        default=DEFAULT_MEMORY_MB,
        description="memory that a process uses before it spills to disk; a batch with very "
        "large values can need more",
    )
    spark_master: str = Field(
        default="local[*]",
        description="the cluster of the engine spark, such as spark://host:7077 or yarn; under "
        "spark-submit, that of spark-submit is used",
    )
    spark_min_size: Size = Field(
        default=1000,
        description="`totes transform --engine spark` uses Spark for batches whose compressed "
        "files in the ingestion store have at least this size in total, and DuckDB for the others",
    )
    spark_application: str | None = Field(
        default=None,
        description="ID of the EMR Serverless application that transforms batches of at least "
        "TOTES_SPARK_MIN_SIZE instead of the Lambda function [none]",
    )
    spark_role: str | None = Field(
        default=None, description="ARN of the role with which that application runs jobs [none]"
    )
    spark_program: Annotated[str | None, AfterValidator(_check_program)] = Field(
        default=None,
        description="s3://bucket/prefix with the program of these jobs: job.py and "
        "packages.tar.gz [none]",
    )
    dashboard_memory: Megabytes = Field(
        default=DEFAULT_DASHBOARD_MEMORY_MB,
        description="memory that the dashboard's copy of the warehouse may use before it works on "
        "disk",
    )
    dashboard_config: Annotated[Path | None, BeforeValidator(_expand_home)] = Field(
        default=None,
        description="TOML file with alert rules, goals and the scheduled report "
        "[HOME/dashboard.toml, if it exists]",
    )
    dashboard_url: Annotated[SecureUrl, AfterValidator(_check_origin)] = Field(
        default=None,
        description="address at which users open the dashboard, such as https://totes.example; "
        "sign-in needs it [none]",
    )
    dashboard_oidc_url: SecureUrl = Field(
        default=None,
        description="metadata URL of the OpenID Connect provider that signs users in, which ends "
        "in /.well-known/openid-configuration [none: no sign-in]",
    )
    dashboard_oidc_client_id: str | None = Field(
        default=None, description="id of the dashboard at the provider [none]"
    )
    dashboard_oidc_client_secret: SecretStr | None = Field(
        default=None, description="secret of the dashboard at the provider [none]"
    )
    dashboard_oidc_secret: str | None = Field(
        default=None,
        description="name or ARN of a secret in AWS Secrets Manager, a JSON object with "
        "client_secret and optionally client_id and cookie_secret [none]",
    )
    dashboard_cookie_secret: SecretStr | None = Field(
        default=None,
        description="at least 32 random characters that sign the cookies of users "
        "[new ones at each start, after which users sign in again]",
    )
    dashboard_viewers: Users = Field(
        default=(),
        description="who may see the dashboard's pages: email addresses, or @example.com for a "
        "domain, separated by commas [no user]",
    )
    dashboard_operators: Users = Field(
        default=(),
        description="who may also see the pages about the pipeline, in the same form [no user]",
    )
    dashboard_contact: Annotated[str, AfterValidator(_check_line)] = Field(
        default="an operator of the dashboard",
        description="whom a user without access can ask for it, such as an email address",
    )
    dashboard_embedders: Annotated[Names, AfterValidator(_check_sites)] = Field(
        default=(),
        description="sites that may show the dashboard in a frame, such as "
        "https://portal.example, separated by commas [only the dashboard's own]",
    )
    dashboard_company: Annotated[str, AfterValidator(_check_line)] = Field(
        default="Terrific Totes", description="name of the company, which the dashboard shows"
    )
    dashboard_logo: Annotated[Path | None, BeforeValidator(_expand_home)] = Field(
        default=None, description="SVG or PNG file of at most 1 MB, shown above the pages [none]"
    )
    dashboard_currency: CurrencyCode = Field(
        default="GBP",
        description="reporting currency of the dashboard unless the user chooses another",
    )
    dashboard_time_zone: Annotated[str, AfterValidator(_check_time_zone)] = Field(
        default="UTC",
        description="time zone in which the dashboard shows moments, such as Europe/London",
    )
    dashboard_fiscal_year: Annotated[int, BeforeValidator(_parse_month)] = Field(
        default=1, description="month in which the fiscal year begins, 1 to 12"
    )
    alert_command: str | None = Field(
        default=None,
        description="command that receives alerts: a JSON message on standard input [none]",
    )
    alert_topic: str | None = Field(
        default=None, description="ARN of an SNS topic that receives the same messages [none]"
    )
    report_topic: str | None = Field(
        default=None,
        description="ARN of an SNS topic that receives the scheduled report as text [none]",
    )
    smtp_server: Annotated[str | None, AfterValidator(_check_host)] = Field(
        default=None,
        description="mail server that sends the scheduled report, such as mail.example.com or "
        "mail.example.com:2525 [none]",
    )
    smtp_tls: Literal["starttls", "tls", "off"] = Field(
        default="starttls",
        description="starttls: encrypt after connecting, port 587; tls: from the beginning, port "
        "465; off: no encryption and no password, port 25",
    )
    smtp_user: str | None = Field(default=None, description="login at the mail server [none]")
    smtp_password: SecretStr | None = Field(
        default=None, description="password of that login [none]"
    )
    smtp_secret: str | None = Field(
        default=None,
        description="name or ARN of a secret in AWS Secrets Manager, a JSON object with username "
        "and password for the mail server [none]",
    )
    smtp_sender: Annotated[str | None, AfterValidator(_check_sender)] = Field(
        default=None, description="the report's sender, such as totes@example.com [none]"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  not offered
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003  not offered
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment and totes.toml; the environment takes precedence."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _read_settings_file())

    @property
    def ingestion(self) -> str:
        """Folder or URL of the ingestion store."""
        return self.ingestion_url or str(self.home / "lake" / "ingestion")

    @property
    def processed(self) -> str:
        """Folder or URL of the processed store."""
        return self.processed_url or str(self.home / "lake" / "processed")

    @property
    def iceberg(self) -> str:
        """Folder or URL of the Iceberg tables' files."""
        return self.iceberg_url or str(self.home / "iceberg")

    @property
    def dashboard_file(self) -> Path | None:
        """The file with alert rules and the report; None if there is none."""
        default = self.home / "dashboard.toml"
        return self.dashboard_config or (default if default.exists() else None)


PREFIX = "TOTES_"

SETTINGS_FILE = Path("totes.toml")


def _read_settings_file() -> dict[str, Any]:
    """Return the settings in totes.toml, none if the working directory has no such file.

    Also none if this user may not enter the working directory: services are often started in the
    folder of another user. Raises UsageError if the file exists and can't be read.
    """
    try:
        SETTINGS_FILE.lstat()
    except FileNotFoundError:
        return {}
    except OSError as error:
        log.debug("%s is not read: %s in the working directory.", SETTINGS_FILE, error.strerror)
        return {}
    return read_toml(SETTINGS_FILE)


def read_toml(file: Path, parse_float: Callable[[str], Any] = float) -> dict[str, Any]:
    """Return the content of a TOML file; UsageError if it can't be read."""
    try:
        if not stat.S_ISREG(file.stat().st_mode):
            raise UsageError(f"{file} can't be read: it is not a regular file.")
        return tomllib.loads(file.read_text(encoding="utf-8-sig"), parse_float=parse_float)
    except FileNotFoundError:
        reason = "it links to a file that does not exist" if file.is_symlink() else "no such file"
        raise UsageError(f"{file} can't be read: {reason}.") from None
    except OSError as error:
        raise UsageError(f"{file} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{file} can't be read: byte {error.start} is not UTF-8. Save it as UTF-8."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{file} can't be read: {error}.") from None


_SERVICE_VARIABLE = re.compile(
    r"TOTES_(\w+_)?("
    r"PORT=\w+://.*|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*"
    r"|SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=\d*"
    r"|NAME=/.+/.+|ENV_\w+=.*)",  # only by Docker links
    re.DOTALL,
)
"""Variables that Kubernetes or a Docker link sets for a service whose name begins with `totes`."""


def load_settings() -> Settings:
    """Return the settings of this process; UsageError names one that is unknown or invalid."""
    variables = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name, value in sorted(os.environ.items()):
        if not name.upper().startswith(PREFIX) or name.upper() in variables:
            continue
        if not _SERVICE_VARIABLE.fullmatch(f"{name}={value}"):
            raise UsageError(f"There is no setting {name}: {_suggest(name.upper(), variables)}")
    try:
        settings = Settings()
    except ValidationError as error:
        detail = error.errors(include_input=False)[0]
        name = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            suggestion = _suggest(
                name.lower().removeprefix(PREFIX.lower()), set(Settings.model_fields)
            )
            raise UsageError(
                f"There is no setting {name} in {SETTINGS_FILE}: {suggestion}"
            ) from None
        reason = detail["msg"].removeprefix("Value error, ")
        raise UsageError(f"Setting {PREFIX}{name.upper()}: {reason}.") from None
    for name in ("source_dsn", "warehouse_dsn", "dashboard_dsn", "iceberg_catalog"):
        if isinstance(dsn := getattr(settings, name), Dsn):
            warn_without_tls(dsn, f"{PREFIX}{name.upper()}")
    return settings


def _suggest(name: str, existing: set[str]) -> str:
    similar = difflib.get_close_matches(name, existing, n=1, cutoff=0.8)
    return f"did you mean {similar[0]}?" if similar else "`totes settings` lists them all."


def warn_without_tls(dsn: Dsn, name: str) -> None:
    """Log a warning if a DSN can send its password unencrypted; `name` is its setting or option."""
    if dsn.may_lack_tls:
        log.warning(
            "%s (%s) may send its password without TLS: add sslmode=verify-full to it, "
            "or sslmode=require if the server's certificate can't be verified.",
            name,
            dsn,
        )


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


@dataclass(frozen=True)
class ListedSetting:
    """A setting as `totes settings` shows it, without secrets; `value` is None if it is unset."""

    name: str
    value: str | None
    default: str
    origin: str
    meaning: str


def list_settings(settings: Settings) -> Iterator[ListedSetting]:
    """Yield all settings with their values, without secrets, and their origins."""
    environment = EnvSettingsSource(Settings)()
    for name in Settings.model_fields:
        origin = str(SETTINGS_FILE) if name in settings.model_fields_set else "default"
        meaning, default = describe_setting(name)
        value = getattr(settings, name)
        yield ListedSetting(
            f"{PREFIX}{name.upper()}",
            None if value is None else _display(name, value),
            default,
            "environment" if name in environment else origin,
            meaning,
        )


def describe_setting(name: str) -> tuple[str, str]:
    """Return a setting's meaning and its default."""
    field = Settings.model_fields[name]
    meaning, _, default = (field.description or "").removesuffix("]").partition(" [")
    return meaning, default or _display(name, field.default)


def _display(name: str, value: object) -> str:
    match value:
        case tuple():
            return ",".join(value)
        case bool():
            return "on" if value else "off"
        case timedelta():
            return f"{value.total_seconds():g}s"
        case int() if name.endswith(("memory", "share", "alarm", "size")):
            return f"{value}{'%' if name.endswith('share') else 'MB'}"
        case str() if name == "alert_command":  # its arguments can be secret
            program, *rest = value.split(maxsplit=1)
            return f"{program} …" if rest else program
        case _:
            text = re.sub(r"//[^/]*@", "//…@", str(value))
            # Stores accept no options, but a signed URL may have been pasted.
            return re.sub(r"(://[^?#]*[?#]).*", r"\1…", text)
