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
from ipaddress import ip_address
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any, NoReturn, Self
from urllib.parse import urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
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

_SECRET = frozenset(
    {"password", "sslpassword", "scram_client_key", "scram_server_key", "oauth_client_secret"}
)
"""Libpq's keywords that are nobody's business."""

_WEAK = frozenset({"disable", "allow", "prefer"})
"""What `sslmode` may be without forbidding a connection in the clear."""


class Dsn:
    """How to reach a database; shows itself without its password, and can't be pickled."""

    __slots__ = ("_parts", "_renew", "_renewed", "_value")

    def __init__(self, value: str) -> None:
        """`value` is a libpq URL or keyword string; ValueError where libpq can't parse it."""
        try:
            parts = conninfo_to_dict(value)
        except Exception:  # noqa: BLE001  psycopg's message repeats the text, password included
            raise ValueError("is not a libpq connection URL") from None
        if _is_torn(value):
            raise ValueError(
                "is not a libpq connection URL: write @ and / in a password as %40 and %2F"
            )
        self._value = SecretStr(value)
        self._parts = {k: v if k not in _SECRET else SecretStr(str(v)) for k, v in parts.items()}
        self._renew: Callable[[], Dsn] | None = None
        self._renewed: Dsn | None = None

    def reveal(self) -> str:
        """The whole DSN, for the driver only."""
        return self._renewed.reveal() if self._renewed else self._value.get_secret_value()

    def open[T](self, connect: Callable[[str], T]) -> T:
        """What `connect` makes of the whole DSN.

        Where its password is refused and can be had anew, that is done, once, and kept.
        """
        known = self.reveal()
        try:
            return connect(known)
        except psycopg.OperationalError as error:
            if self._renew is None or not _is_refused(error):
                raise
            renewed = self._renew()
            if renewed.reveal() == known:
                raise
        self._renewed = renewed
        log.info("The password of %s was refused: its secret has a new one, which is taken.", self)
        return connect(renewed.reveal())

    def renewed_by(self, renew: "Callable[[], Dsn]") -> Self:
        """The same, whose password `renew` knows where it has been changed meanwhile."""
        self._renew = renew
        return self

    def replace(self, **parts: str) -> Self:
        """The same with other values for these libpq parameters."""
        return type(self)(make_conninfo(self.reveal(), **parts))

    def has(self, part: str) -> bool:
        """Whether one of libpq's keywords is set, a secret one included."""
        return part in self._parts

    @property
    def parts(self) -> dict[str, object]:
        """Libpq's keywords, without the secret ones."""
        return {k: v for k, v in self._parts.items() if k not in _SECRET}

    @property
    def may_lack_tls(self) -> bool:
        """Whether a password may go over a network in the clear, if the server wants it so."""
        mode = self._parts.get("sslmode") or os.environ.get("PGSSLMODE") or "prefer"
        return mode in _WEAK and self._has_password and any(map(_is_remote, self._hosts))

    @property
    def _has_password(self) -> bool:
        given = self._parts.get("passfile") or os.environ.get("PGPASSFILE") or "~/.pgpass"
        known = bool(self._parts.get("password") or os.environ.get("PGPASSWORD"))
        # Not Path's expanduser, which insists on there being a home.
        return known or Path(os.path.expanduser(str(given))).is_file()  # noqa: PTH111

    @property
    def _hosts(self) -> list[str]:
        """Where libpq may go; by name only where it gets no address."""
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


_REFUSALS = re.compile(
    "authentication failed|no password supplied|role .* (does not exist|is not permitted to log in)"
)
"""How servers say it, which libpq hands on without an SQLSTATE."""


def _is_refused(error: psycopg.OperationalError) -> bool:
    """Whether a server refuses user or password, which may have been exchanged meanwhile."""
    if error.sqlstate is not None:
        return error.sqlstate.startswith("28")
    return _REFUSALS.search(str(error)) is not None


def _is_torn(value: str) -> bool:
    """Whether libpq takes a part of a URL's password, with an @ or / in it, for something else."""
    scheme, found, rest = value.partition("://")
    if not found or scheme not in {"postgresql", "postgres"}:
        return False
    authority, _, tail = rest.partition("/")
    return authority.count("@") > 1 or "@" in tail.partition("?")[0]


def _is_remote(host: str) -> bool:
    """Whether a host is reached over a network: no socket and not this machine."""
    if host == "" or host.startswith(("/", "@")) or host == "localhost":
        return False
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return True


def _seconds(value: object) -> object:
    if isinstance(value, timedelta):
        return value
    match = re.fullmatch(r"(\d{1,6}(?:\.\d+)?)(ms|s|m|h)", str(value).strip(), re.ASCII)
    if match is None:
        raise ValueError("must be a duration such as 500ms, 5s, 10m or 1h")
    unit = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[match[2]]
    return timedelta(seconds=float(match[1]) * unit)


Duration = Annotated[timedelta, BeforeValidator(_seconds)]
"""`5s`, `500ms`, `10m`, `1h`."""


DEFAULT_MEMORY_MB = 256
"""Enough for any number of rows of usual width, and the least that may be set."""


def _megabytes(value: object) -> object:
    if isinstance(value, int):
        return value
    match = re.fullmatch(r"(\d{1,6})\s?(MB|GB)", str(value).strip(), re.ASCII | re.IGNORECASE)
    megabytes = int(match[1]) * {"MB": 1, "GB": 1000}[match[2].upper()] if match else 0
    if megabytes < DEFAULT_MEMORY_MB:
        raise ValueError(f"must be a size of at least {DEFAULT_MEMORY_MB}MB, such as 512MB or 2GB")
    return megabytes


Megabytes = Annotated[int, BeforeValidator(_megabytes)]
"""`256MB`, `2GB`."""


def _names(value: object) -> object:
    if isinstance(value, str):
        return tuple(name.strip() for name in value.split(",") if name.strip())
    return value


def _expanded(value: object) -> object:
    """A path whose leading `~` is replaced by the home folder; URLs stay as they are."""
    if not isinstance(value, str | Path):
        return value
    text = os.path.expanduser(str(value))  # noqa: PTH111  Path's raises RuntimeError
    home = str(value).partition("/")[0]
    if text.startswith("~") or (home == "~" and os.environ.get("HOME") == ""):
        raise ValueError(f"{home} has no home folder: write the full path")
    if "\0" in text:
        raise ValueError("must not contain a null character")
    return text


Location = Annotated[str, BeforeValidator(_expanded)]
"""A folder's path or a URL."""


def _rates_url(value: str | None) -> str | None:
    parts = urlsplit(value or "")
    local = parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path
    if value and not (local or (parts.scheme in {"http", "https"} and parts.hostname)):
        raise ValueError("must be a URL that begins with https://, http:// or file:///")
    return value


class Settings(BaseSettings):
    """Every setting, its meaning and default."""

    model_config = SettingsConfigDict(
        env_prefix="TOTES_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    home: Annotated[Path, BeforeValidator(_expanded)] = Field(
        default=Path(".totes"), description="where the embedded parts live"
    )
    source_dsn: Dsn | None = Field(
        default=None,
        description="libpq URL of totesys [an embedded server, database totesys]",
    )
    warehouse_dsn: Dsn | None = Field(
        default=None,
        description="libpq URL of the warehouse [a second embedded server, database warehouse]",
    )
    dashboard_dsn: Dsn | None = Field(
        default=None,
        description="libpq URL of the warehouse for a role that may only read it, for the dashboard"
        " [the embedded warehouse's reader]",
    )
    source_secret: str | None = Field(
        default=None,
        description="name or ARN in AWS Secrets Manager of a JSON object with parts of that URL: "
        "host, port, dbname, username, password, sslmode, sslrootcert [none]",
    )
    warehouse_secret: str | None = Field(
        default=None, description="the same for the warehouse [none]"
    )
    ingestion_url: Location | None = Field(
        default=None,
        description="folder or s3://bucket/prefix of the ingestion store [HOME/lake/ingestion]",
    )
    processed_url: Location | None = Field(
        default=None,
        description="folder or s3://bucket/prefix of the processed store [HOME/lake/processed]",
    )
    source_schema: str = Field(default="public", description="the schema to ingest")
    exclude_tables: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)] = Field(
        default=("_prisma_migrations",), description="tables to leave out, comma-separated"
    )
    star: Path | None = Field(
        default=None,
        description="folder with the declaration, models and verify SQL of the star to build "
        "[Terrific Totes's, which comes with the program]",
    )
    rates: bool = Field(
        default=True, description="whether to bring the ECB's exchange rates along, on or off"
    )
    rates_url: Annotated[str | None, AfterValidator(_rates_url)] = Field(
        default=None,
        description="where newer ones are than came with the program: the ECB's "
        "eurofxref-hist.zip, or that CSV, by https, http or file [none]",
    )
    every: Duration = Field(
        default=timedelta(seconds=5), description="pause between runs in continuous mode"
    )
    memory: Megabytes = Field(
        default=DEFAULT_MEMORY_MB,
        description="memory that a process may use before it works on disk; a batch with very "
        "large values may need more",
    )
    alert_command: str | None = Field(
        default=None,
        description="run with a JSON message on stdin when something needs a person [none]",
    )
    alert_topic: str | None = Field(
        default=None, description="ARN of an SNS topic that is sent the same message [none]"
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
        """The environment wins over totes.toml; nothing else is read."""
        return init_settings, env_settings, InitSettingsSource(settings_cls, _file())

    @property
    def ingestion(self) -> str:
        """Folder or URL of the ingestion store."""
        return self.ingestion_url or str(self.home / "lake" / "ingestion")

    @property
    def processed(self) -> str:
        """Folder or URL of the processed store."""
        return self.processed_url or str(self.home / "lake" / "processed")


PREFIX = "TOTES_"

FILE = Path("totes.toml")


def _file() -> dict[str, Any]:
    """The settings in totes.toml; none where the working directory has no such file.

    Also none where this user may not enter the working directory: services are often started from
    another user's folder. UsageError where the file exists and can't be read.
    """
    try:
        FILE.lstat()
    except FileNotFoundError:
        return {}
    except OSError as error:
        log.debug("%s is not read: %s in the working directory.", FILE, error.strerror)
        return {}
    try:
        if not stat.S_ISREG(FILE.stat().st_mode):
            raise UsageError(f"{FILE} can't be read: it is not a regular file.")
        return tomllib.loads(FILE.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"{FILE} can't be read: it links to a file that does not exist.") from None
    except OSError as error:
        raise UsageError(f"{FILE} can't be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{FILE} can't be read: byte {error.start} is not UTF-8. Save it as UTF-8."
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{FILE} can't be read: {error}.") from None


_INJECTED = re.compile(
    r"TOTES_(\w+_)?("
    r"PORT=\w+://.*|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?=.*"
    r"|SERVICE_HOST=.*|SERVICE_PORT(_\w+)?=\d*"
    r"|NAME=/.+/.+|ENV_\w+=.*)",  # only by Docker's links
    re.DOTALL,
)
"""Variables that Kubernetes and Docker's links set for a service whose name begins with `totes`."""


def load_settings() -> Settings:
    """The settings in force; UsageError names the one that can't be meant."""
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields}
    for name, value in sorted(os.environ.items()):
        if not name.upper().startswith(PREFIX) or name.upper() in known:
            continue
        if not _INJECTED.fullmatch(f"{name}={value}"):
            raise UsageError(f"There is no setting {name}: {_hint(name.upper(), known)}")
    try:
        settings = Settings()
    except ValidationError as error:
        detail = error.errors(include_input=False)[0]
        name = ".".join(str(part) for part in detail["loc"])
        if detail["type"] == "extra_forbidden":
            hint = _hint(name.lower().removeprefix(PREFIX.lower()), set(Settings.model_fields))
            raise UsageError(f"There is no setting {name} in {FILE}: {hint}") from None
        reason = detail["msg"].removeprefix("Value error, ")
        raise UsageError(f"Setting {PREFIX}{name.upper()}: {reason}.") from None
    for name in ("source_dsn", "warehouse_dsn", "dashboard_dsn"):
        warn(getattr(settings, name), f"{PREFIX}{name.upper()}")
    return settings


def _hint(name: str, known: set[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.8)
    return f"did you mean {near[0]}?" if near else "`totes settings` lists them all."


def warn(dsn: Dsn | None, name: str) -> None:
    """Say where a password may be read on its way."""
    if dsn is not None and dsn.may_lack_tls:
        log.warning(
            "%s (%s) may send its password without TLS: add sslmode=verify-full to it, "
            "or sslmode=require where there is no certificate to check.",
            name,
            dsn,
        )


def duration(text: str, name: str) -> timedelta:
    """What option `name` says, such as `5s`; UsageError where it is no duration."""
    return _option(Duration, text, name)


def dsn(text: str, name: str) -> Dsn:
    """What option `name` says; UsageError, which doesn't repeat it, where libpq can't read it."""
    found = _option(Dsn, text, name)
    warn(found, f"Option {name}")
    return found


def location(text: str, name: str) -> str:
    """The folder or URL given to option `name`."""
    return _option(Location, text, name)


def _option[T](kind: type[T], text: str, name: str) -> T:
    try:
        return TypeAdapter(kind).validate_python(text)
    except ValidationError as error:
        reason = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"Option {name} {reason}.") from None


@dataclass(frozen=True)
class Listed:
    """A setting as `totes settings` lists it: fit to be shown. `value` is None where unset."""

    name: str
    value: str | None
    default: str
    origin: str
    meaning: str


def listed(settings: Settings) -> Iterator[Listed]:
    """Every setting, its value without secrets, and where it came from."""
    environment = EnvSettingsSource(Settings)()
    for name in Settings.model_fields:
        origin = str(FILE) if name in settings.model_fields_set else "default"
        meaning, fallback = described(name)
        value = getattr(settings, name)
        yield Listed(
            f"{PREFIX}{name.upper()}",
            None if value is None else _shown(name, value),
            fallback,
            "environment" if name in environment else origin,
            meaning,
        )


def described(name: str) -> tuple[str, str]:
    """A setting's meaning and its default, in words."""
    field = Settings.model_fields[name]
    meaning, _, fallback = (field.description or "").removesuffix("]").partition(" [")
    return meaning, fallback or _shown(name, field.default)


def _shown(name: str, value: object) -> str:
    match value:
        case tuple():
            return ",".join(value)
        case bool():
            return "on" if value else "off"
        case timedelta():
            return f"{value.total_seconds():g}s"
        case int() if name == "memory":
            return f"{value}MB"
        case str() if name == "alert_command":  # may name a webhook
            program, *rest = value.split(maxsplit=1)
            return f"{program} …" if rest else program
        case _:
            shown = re.sub(r"//[^/]*@", "//…@", str(value))
            # No store takes options, but somebody may have pasted a URL that is signed.
            return re.sub(r"(://[^?#]*[?#]).*", r"\1…", shown)
