"""Sessions of Spark, with every setting that could change a row pinned.

`pyspark` is imported at first use: it is optional, and so is Java.
"""

# ruff: noqa: PLC0415  as the docstring says

import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from totes.duckdb_engine import memory_limit
from totes.errors import UsageError

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

VERSION = "4.1."
"""How the version of Spark begins whose rows were compared with DuckDB's."""

PINNED: Mapping[str, str] = MappingProxyType(
    {
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.ansi.enabled": "true",  # a cast that fails is an error and not NULL
        "spark.sql.caseSensitive": "true",  # columns a and A are two columns
        # Its time grows exponentially with the columns that a model's expressions read.
        "spark.sql.constraintPropagation.enabled": "false",
        "spark.sql.ansi.doubleQuotedIdentifiers": "false",
        "spark.sql.ansi.enforceReservedKeywords": "false",
        "spark.sql.decimalOperations.allowPrecisionLoss": "false",
        "spark.sql.files.ignoreCorruptFiles": "false",
        "spark.sql.files.ignoreMissingFiles": "false",
        "spark.sql.json.enableExactStringParsing": "true",
        "spark.sql.legacy.timeParserPolicy": "CORRECTED",
        "spark.sql.parquet.binaryAsString": "false",
        "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
        "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
        "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
        "spark.sql.parquet.writeLegacyFormat": "false",
        "spark.sql.parser.escapedStringLiterals": "false",
        "spark.sql.parser.quotedRegexColumnNames": "false",
        "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
        "spark.sql.timestampType": "TIMESTAMP_LTZ",
        "spark.sql.variable.substitute": "false",  # else ${env:X} in a literal is a variable
    }
)
"""Settings of SQL on which rows or their planning depend, whatever the cluster's are."""

_DEBUGGING = "spark.python.sql.dataFrameDebugging.enabled"
"""It takes as long as all else that the driver does to make a DataFrame."""

_LOOPBACK = "127.0.0.1"

_JAVA_MB = 1024
_TASK_MB = 192
"""What a task needs that holds a file of 64 MB: three times its size."""

_LOGGERS = ("DataFrameQueryContextLogger", "SQLQueryContextLogger")
"""pyspark's own, which print each error with paths of this machine, before totes does."""


def check_installed() -> None:
    """Raise UsageError if pyspark or Java is missing."""
    if find_spec("pyspark") is None:
        raise UsageError(
            "The engine spark needs pyspark: install terrific-totes[spark], or use the engine "
            "duckdb."
        )
    home = os.environ.get("JAVA_HOME")
    if not (Path(home, "bin", "java").is_file() if home else shutil.which("java")):
        raise UsageError(
            "The engine spark needs Java 17: install it (Debian: openjdk-17-jre-headless) or set "
            "JAVA_HOME to its folder."
        )


@contextmanager
def open_session(master: str) -> Iterator["SparkSession"]:
    """Open a session with pinned settings; UsageError if this fails.

    It is at `master`, or where this process has Spark already: under spark-submit, or in a session
    that the caller has opened and closes.
    """
    check_installed()
    for name in _LOGGERS:
        logging.getLogger(name).disabled = True
    from py4j.protocol import Py4JError  # type: ignore[import-untyped]
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    active = SparkSession.getActiveSession()
    builder = SparkSession.builder.appName("terrific-totes").config(_DEBUGGING, value=False)
    is_submitted = "PYSPARK_GATEWAY_PORT" in os.environ
    if active is None and not is_submitted:
        for name, value in _start_settings(master).items():
            builder.config(name, value)
    try:
        started = active or builder.getOrCreate()
        session = started.newSession()
    except (PySparkException, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(
            f"Spark can't start ({reason}): check TOTES_SPARK_MASTER and that Java is version 17."
        ) from error
    try:
        pin(session)
        yield session
    finally:
        if active is None:
            with suppress(Py4JError, ConnectionError):  # Java may have ended
                started.stop()


def pin(session: "SparkSession") -> None:
    """Set all settings of `PINNED`; UsageError if one has another value, or Spark's version."""
    for name, value in PINNED.items():
        session.conf.set(name, value)
    different = [
        f"{name} is {found}"
        for name, value in PINNED.items()
        if (found := session.conf.get(name)) != value
    ]
    if not session.version.startswith(VERSION):
        different.append(f"its version is {session.version}")
    if different:
        raise UsageError(
            f"This Spark could make other rows ({', '.join(different)}): use version {VERSION}x, "
            "and remove these settings from its configuration."
        )


def _start_settings(master: str) -> dict[str, str]:
    """Return what must be set before Spark starts."""
    settings = {
        "spark.master": master,
        "spark.log.level": "OFF",  # an error is one line: that of its exception
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
    }
    if master.startswith("local"):  # all of Spark is on this machine: no other may reach it
        os.environ.setdefault("SPARK_LOCAL_IP", _LOOPBACK)
        # Spark's own variable: a file spark-defaults.conf counts more.
        os.environ.setdefault("SPARK_DRIVER_MEMORY", f"{_local_memory_mb(master)}m")
    if address := os.environ.get("SPARK_LOCAL_IP"):
        settings |= {"spark.driver.host": address, "spark.driver.bindAddress": address}
    return settings


def _local_memory_mb(master: str) -> int:
    """Return the memory of Spark on this machine, whose tasks hold whole files."""
    threads = re.match(r"local\[(\d+)", master)
    tasks = int(threads[1]) if threads else 1 if master == "local" else os.cpu_count() or 1
    return max(memory_limit(), _JAVA_MB + tasks * _TASK_MB)


def check_readable(session: "SparkSession", url: str) -> None:
    """Raise UsageError if Spark has no file system for a URL."""
    from py4j.protocol import Py4JJavaError

    scheme = url.partition(":")[0]
    java: Any = session.sparkContext._jvm  # noqa: SLF001  pyspark has no other way
    configuration = session.sparkContext._jsc.hadoopConfiguration()  # noqa: SLF001  as above
    try:
        java.org.apache.hadoop.fs.FileSystem.getFileSystemClass(scheme, configuration)
    except Py4JJavaError as error:
        raise UsageError(
            f"This Spark can't read {url}: it has no file system for {scheme}://, as EMR has. Use "
            "the engine duckdb, a job on EMR, or see docs/running.md."
        ) from error
