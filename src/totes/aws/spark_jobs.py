"""Jobs on EMR Serverless, which transform the batches that are too large for a function.

A job runs a command of totes under spark-submit. Its role reads the ingestion store and writes the
processed one; it reaches neither source nor warehouse.
"""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from botocore.config import Config

from totes.aws_client import AWS_ERRORS, aws_client, describe
from totes.config.settings import Settings
from totes.errors import UsageError
from totes.lake.manifest import processed_manifest_path
from totes.lake.manifests import find_current_generation, read_manifest
from totes.lake.store import Store

log = logging.getLogger("totes.aws")

MAX_ATTEMPTS = 3
"""How many jobs with one release of the program are started for a batch."""

TIMEOUT_MINUTES = 24 * 60
"""The time after which EMR cancels a job."""

PYTHON = "python3.12"
"""Python of the EMR release in terraform/modules/spark, for which the packages are compiled."""

PACKAGES = "packages"
"""The folder in the job's working directory into which EMR unpacks the packages."""

DRIVER = {
    "cores": "4",
    "memory": "8g",  # of the Java process
    "memoryOverhead": "8g",  # of Python with DuckDB
}
"""The driver's worker, in total 4 vCPU and 16 GB, which is also EMR's default for executors."""

DUCKDB_MEMORY = "5GB"
"""What the driver's DuckDB may use of its `memoryOverhead`; the rest is for Python and Java."""

ENDED = frozenset({"SUCCESS", "FAILED", "CANCELLED"})
"""The states of a job that neither runs nor waits for its start."""

_CONFIG = Config(connect_timeout=2, read_timeout=10, retries={"mode": "standard"})


class JobRun(NamedTuple):
    """A job, as EMR lists it."""

    identifier: str
    name: str
    state: str
    created_at: datetime

    @property
    def has_ended(self) -> bool:
        """Whether it neither runs nor waits for its start."""
        return self.state in ENDED


@dataclass(frozen=True)
class SparkApplication:
    """An application of EMR Serverless, and what its jobs run.

    `program` is the URL of a folder with `job.py` and `packages.tar.gz` (tools/spark_package.py);
    `settings` are the jobs' TOTES_… variables. `region` is an ARN in the application's region; if
    it is empty, the region of the process is used.
    """

    identifier: str
    role: str
    program: str
    settings: Mapping[str, str]
    region: str = ""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self | None:
        """Return the application for this function's stores; None if there is none.

        Raises UsageError if settings are missing, or a store is not on S3.
        """
        if settings.spark_application is None:
            return None
        if settings.spark_role is None or settings.spark_program is None:
            raise UsageError(
                "TOTES_SPARK_APPLICATION is set: set TOTES_SPARK_ROLE and TOTES_SPARK_PROGRAM, too."
            )
        stores = {
            "TOTES_INGESTION_URL": settings.ingestion,
            "TOTES_PROCESSED_URL": settings.processed,
            "TOTES_SPARK_MIN_SIZE": f"{settings.spark_min_size}MB",
        }
        return cls(settings.spark_application, settings.spark_role, settings.spark_program, stores)

    @property
    def release(self) -> str:
        """The digest of the packages: the last part of the program's URL."""
        return self.program.rpartition("/")[2]

    @property
    def log_group(self) -> str:
        """The log group of its jobs, which has the name of their role."""
        return f"/aws/emr-serverless/{self.role.rpartition('/')[2]}"

    def start(self, name: str, token: str, command: list[str]) -> str:
        """Start a job and return its id; a second call with the same token returns the first's.

        Its log is in the streams of `log_group` that begin with the token.
        """
        parameters = {
            "applicationId": self.identifier,
            "clientToken": token,
            "executionRoleArn": self.role,
            "name": name,
            "executionTimeoutMinutes": TIMEOUT_MINUTES,
            "jobDriver": {
                "sparkSubmit": {
                    "entryPoint": f"{self.program}/job.py",
                    "entryPointArguments": command,
                }
            },
            "configurationOverrides": {
                "applicationConfiguration": [
                    {"classification": "spark-defaults", "properties": self._properties()}
                ],
                "monitoringConfiguration": {
                    "cloudWatchLoggingConfiguration": {
                        "enabled": True,
                        "logGroupName": self.log_group,
                        "logStreamNamePrefix": token,
                        "logTypes": {"SPARK_DRIVER": ["STDOUT", "STDERR"]},
                    },
                    # AWS's own copy of the logs, for its console.
                    "managedPersistenceMonitoringConfiguration": {"enabled": False},
                },
            },
        }
        try:
            return str(self._client.start_job_run(**parameters)["jobRunId"])
        except AWS_ERRORS as error:
            raise self._error(f"start {name}", describe(error)) from error

    def runs(self) -> Iterator[JobRun]:
        """Yield all jobs of the application."""
        pages = self._client.get_paginator("list_job_runs").paginate(applicationId=self.identifier)
        try:
            for page in pages:
                for run in page["jobRuns"]:
                    yield JobRun(run["id"], run.get("name", ""), run["state"], run["createdAt"])
        except AWS_ERRORS as error:
            raise self._error("list its jobs", describe(error)) from error

    def describe(self, identifier: str) -> Mapping[str, Any]:
        """Return EMR's description of a job."""
        answer = self._client.get_job_run(applicationId=self.identifier, jobRunId=identifier)
        return dict(answer["jobRun"])

    @property
    def _client(self) -> Any:
        return aws_client("emr-serverless", self.region, _CONFIG)

    def _properties(self) -> dict[str, str]:
        """Return Spark's configuration. Executors run no Python: only the driver has settings."""
        environment = {
            "PYSPARK_DRIVER_PYTHON": PYTHON,
            "PYSPARK_PYTHON": PYTHON,
            "PYTHONPATH": f"./{PACKAGES}",
            # A worker has one user, and ends with its job.
            "TOTES_HOME": "/tmp/totes",  # noqa: S108  # nosec B108
            "TOTES_MEMORY": DUCKDB_MEMORY,
            **self.settings,
        }
        return {
            "spark.archives": f"{self.program}/packages.tar.gz#{PACKAGES}",
            "spark.log.level": "WARN",
            "spark.sql.catalogImplementation": "in-memory",  # else EMR asks Glue for tables
            "spark.emr-serverless.driver.disk": "200g",
            "spark.emr-serverless.executor.disk": "200g",
            **{f"spark.driver.{name}": value for name, value in DRIVER.items()},
            **{f"spark.emr-serverless.driverEnv.{name}": v for name, v in environment.items()},
        }

    def _error(self, action: str, reason: str) -> UsageError:
        return UsageError(
            f"The Spark application {self.identifier} can't {action}: {reason}. Check "
            "TOTES_SPARK_APPLICATION, TOTES_SPARK_ROLE, and who may start its jobs."
        )


@dataclass(frozen=True)
class SparkWork:
    """A pending batch that Spark transforms."""

    batch: int
    job: str | None
    """The id of the job that runs or was just started; None if no further one is started."""
    failures: int
    """The jobs that ended without publishing the batch."""
    minutes: float
    """How long the job has been running; 0 if none is."""


@dataclass
class LargeBatches:
    """The batches that a function leaves to Spark: those of at least `min_bytes` of files."""

    application: SparkApplication
    ingestion: Store
    processed: Store
    min_bytes: int
    found: int | None = field(default=None, init=False)
    """The last batch that was examined, if it is large."""

    def is_large(self, batch: int) -> bool:
        """Return whether a batch of the ingestion store is for Spark, and remember it."""
        manifest, _ = read_manifest(self.ingestion, batch)
        size_bytes = sum(file.bytes for table in manifest.tables for file in table.files)
        self.found = batch if size_bytes >= self.min_bytes else None
        return self.found is not None

    def hand_over(self, batch: int) -> SparkWork | None:
        """Ensure that a job transforms a pending batch; None if the batch is published.

        One job of a generation runs at a time, as it goes on with the batches that follow. The
        token of a new job consists of generation, batch, release, and the number of jobs that ended
        before: concurrent calls that see the same jobs start only one.
        """
        generation = find_current_generation(self.processed)
        kind = f"transform-{generation}-"
        name = f"{kind}{batch}-{self.application.release}"
        runs = [run for run in self.application.runs() if run.name.startswith(kind)]
        if self.processed.exists(processed_manifest_path(generation, batch)):
            return None  # a job has published it since
        failures = sum(run.name == name and run.has_ended for run in runs)
        if active := next((run for run in runs if not run.has_ended), None):
            minutes = (datetime.now(UTC) - active.created_at).total_seconds() / 60
            log.info("Batch %d is transformed by Spark job %s.", batch, active.identifier)
            return SparkWork(batch, active.identifier, failures, minutes)
        if failures >= MAX_ATTEMPTS:
            log.error(
                "Batch %d waits: %d Spark jobs named %s ended without publishing it. Read their "
                "log in %s.",
                *(batch, failures, name, self.application.log_group),
            )
            return SparkWork(batch, None, failures, 0.0)
        job = self.application.start(name, f"{name}-{failures}", ["transform", "--engine", "spark"])
        log.info("Batch %d is too large for a function: started Spark job %s.", batch, job)
        return SparkWork(batch, job, failures, 0.0)
