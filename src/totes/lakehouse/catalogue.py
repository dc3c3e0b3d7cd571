"""The catalogue of the Iceberg tables: SQLite, PostgreSQL or Glue; files in a folder or in S3."""

# ruff: noqa: PLC0415  pyiceberg is slow to import, and boto3 is not needed without AWS

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import duckdb
from psycopg.conninfo import conninfo_to_dict

from totes.config.dsn import Dsn
from totes.errors import IcebergBusy, IcebergError, UsageError

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

DEFAULT_NAMESPACE = "totes"
"""The namespace of the tables in the catalogue; on AWS, the database in Glue."""

_GLUE = "glue"

_UNSAFE = frozenset("#?%")
"""Characters that programs read differently in a URL of a file."""


@dataclass(frozen=True)
class Lakehouse:
    """Where the Iceberg tables are: the settings TOTES_ICEBERG_CATALOG and TOTES_ICEBERG_URL."""

    catalogue: str | Dsn
    url: str

    @property
    def namespace(self) -> str:
        """The namespace of the tables: with `glue:NAME`, the database NAME."""
        scheme, _, name = str(self.catalogue).partition(":")
        return name if scheme == _GLUE and name else DEFAULT_NAMESPACE

    @property
    def location(self) -> str:
        """The URL below which the tables' files are; UsageError if it is neither folder nor S3."""
        parts = urlsplit(self.url)
        if parts.scheme == "s3" and parts.netloc and not _UNSAFE & {*self.url}:
            return self.url.rstrip("/")
        if parts.scheme in {"", "file"} and not parts.netloc and not _UNSAFE & {*self.url}:
            return f"file://{Path(parts.path).resolve()}"
        raise UsageError(
            "TOTES_ICEBERG_URL must be a folder's path or s3://bucket/prefix, without any of the "
            f"characters {' '.join(sorted(_UNSAFE))}; not {self.url}."
        )

    @contextmanager
    def open(self) -> Iterator["Catalog"]:
        """Open the catalogue; its errors in the block become IcebergError or IcebergBusy."""
        location = self.location
        with converted_errors(self):
            catalogue = self._connect(location)
            try:
                yield catalogue
            finally:
                catalogue.close()

    def _connect(self, location: str) -> "Catalog":
        properties = {"warehouse": location, "py-io-impl": "pyiceberg.io.pyarrow.PyArrowFileIO"}
        if location.startswith("s3:"):
            properties |= _s3_properties()
        if str(self.catalogue).partition(":")[0] == _GLUE:
            from pyiceberg.catalog.glue import GlueCatalog

            from totes.aws_client import aws_client

            return GlueCatalog("totes", client=aws_client("glue"), **properties)
        from pyiceberg.catalog.sql import SqlCatalog

        if isinstance(self.catalogue, Dsn):
            uri = _sqlalchemy_url(self.catalogue)
        else:
            uri = self.catalogue
            Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
        return SqlCatalog("totes", uri=uri, **properties)


def _sqlalchemy_url(dsn: Dsn) -> str:
    """Return a libpq DSN as SQLAlchemy's URL for psycopg 3, with its secrets."""
    from sqlalchemy.engine import URL

    parts = {name: str(value) for name, value in conninfo_to_dict(dsn.reveal()).items()}
    url = URL.create(
        "postgresql+psycopg",
        username=parts.pop("user", None),
        password=parts.pop("password", None),
        database=parts.pop("dbname", None),
        query=parts,
    )
    return str(url.render_as_string(hide_password=False))


def _s3_properties() -> dict[str, str]:
    """Return the credentials, region and endpoint that boto3 finds, for pyarrow.

    pyarrow alone would not find those of single sign-on or of an assumed role.
    """
    from totes.aws_client import aws_client, current_credentials

    client, credentials = aws_client("s3"), current_credentials()
    properties = {
        "s3.access-key-id": credentials.access_key,
        "s3.secret-access-key": credentials.secret_key,
        "s3.region": client.meta.region_name,
    }
    if credentials.token:
        properties["s3.session-token"] = credentials.token
    if os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"):
        properties["s3.endpoint"] = client.meta.endpoint_url
    return properties


@contextmanager
def converted_errors(lakehouse: Lakehouse) -> Iterator[None]:
    """Raise the errors of pyiceberg, SQLAlchemy, pyarrow, DuckDB and boto3 as IcebergError.

    IcebergBusy if a later attempt can succeed.
    """
    from pyiceberg.exceptions import (
        CommitFailedException,
        CommitStateUnknownException,
        ValidationException,
    )
    from sqlalchemy.exc import OperationalError, SQLAlchemyError

    catalogue = str(lakehouse.catalogue)
    try:
        yield
    except (CommitFailedException, CommitStateUnknownException, ValidationException) as error:
        raise IcebergBusy(
            f"Another process has changed an Iceberg table in {lakehouse.url} at the same time: "
            "run it again."
        ) from error
    except OperationalError as error:
        raise IcebergBusy(
            f"The Iceberg catalogue {catalogue} can't be reached: {_first_line(error.orig)}."
        ) from error
    except SQLAlchemyError as error:
        raise IcebergError(
            f"The Iceberg catalogue {catalogue} can't be used: {_first_line(error)}. "
            "Check TOTES_ICEBERG_CATALOG."
        ) from error
    except (OSError, duckdb.Error) as error:  # DuckDB also passes on Arrow's errors
        raise IcebergError(
            f"The Iceberg tables in {lakehouse.url} can't be read or written: "
            f"{_first_line(error)}. Check TOTES_ICEBERG_URL, and free disk space."
        ) from error
    except Exception as error:
        if message := _describe_aws(error):
            raise IcebergError(f"The Iceberg catalogue can't be used: {message}.") from error
        if type(error).__module__.startswith("pyiceberg."):
            raise IcebergError(
                f"The Iceberg tables in {lakehouse.url} can't be used: {_first_line(error)}."
            ) from error
        raise


def _describe_aws(error: Exception) -> str:
    """Return what an error of AWS means; empty for any other."""
    if not type(error).__module__.startswith("botocore."):
        return ""
    from totes.aws_client import AWS_ERRORS, describe

    return describe(error) if isinstance(error, AWS_ERRORS) else ""


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
