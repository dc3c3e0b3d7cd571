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
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from totes.config.dsn import Dsn, warn_without_tls
from totes.config.values import (
    MINIMUM_MEMORY_MB,
    CurrencyCode,
    Duration,
    HomePath,
    Host,
    IcebergCatalog,
    Line,
    Megabytes,
    Month,
    Names,
    Origin,
    PathOrUrl,
    Percentage,
    ProgramUrl,
    RatesUrl,
    SecureUrl,
    Sender,
    Sites,
    Size,
    SlotName,
    TimeZone,
    Users,
)
from totes.errors import UsageError

log = logging.getLogger(__name__)

DEFAULT_MEMORY_MB = MINIMUM_MEMORY_MB

DEFAULT_DASHBOARD_MEMORY_MB = 512

DEFAULT_SOURCE_SHARE = 25

DEFAULT_CONNECTIONS = 2


class Settings(BaseSettings):
    """All settings, their meaning and default."""

    model_config = SettingsConfigDict(
        env_prefix="TOTES_",
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
    )

    home: HomePath = Field(
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
    log_slot: SlotName = Field(
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
    rates_url: RatesUrl = Field(
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
    spark_program: ProgramUrl = Field(
        default=None,
        description="s3://bucket/prefix with the program of these jobs: job.py and "
        "packages.tar.gz [none]",
    )
    dashboard_memory: Megabytes = Field(
        default=DEFAULT_DASHBOARD_MEMORY_MB,
        description="memory that the dashboard's copy of the warehouse may use before it works on "
        "disk",
    )
    dashboard_config: HomePath | None = Field(
        default=None,
        description="TOML file with alert rules, goals and the scheduled report "
        "[HOME/dashboard.toml, if it exists]",
    )
    dashboard_url: Origin = Field(
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
    dashboard_contact: Line = Field(
        default="an operator of the dashboard",
        description="whom a user without access can ask for it, such as an email address",
    )
    dashboard_embedders: Sites = Field(
        default=(),
        description="sites that may show the dashboard in a frame, such as "
        "https://portal.example, separated by commas [only the dashboard's own]",
    )
    dashboard_company: Line = Field(
        default="Terrific Totes", description="name of the company, which the dashboard shows"
    )
    dashboard_logo: HomePath | None = Field(
        default=None, description="SVG or PNG file of at most 1 MB, shown above the pages [none]"
    )
    dashboard_currency: CurrencyCode = Field(
        default="GBP",
        description="reporting currency of the dashboard unless the user chooses another",
    )
    dashboard_time_zone: TimeZone = Field(
        default="UTC",
        description="time zone in which the dashboard shows moments, such as Europe/London",
    )
    dashboard_fiscal_year: Month = Field(
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
    smtp_server: Host = Field(
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
    smtp_sender: Sender = Field(
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
