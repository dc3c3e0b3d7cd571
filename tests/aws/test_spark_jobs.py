"""Batches that are too large for the function transform are handed over to Spark, once."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import boto3
import pytest
from in_process_handlers import Handlers
from moto.emrserverless.models import EMRServerlessBackend, JobRun, emrserverless_backends

from totes.aws import handlers, spark_jobs
from totes.aws.spark_jobs import MAX_ATTEMPTS, LargeBatches, SparkApplication
from totes.config.settings import load_settings
from totes.errors import UsageError
from totes.lake import Store, open_store
from totes.stages.transform import transform

pytestmark = pytest.mark.few(7)

ROLE = "arn:aws:iam::123456789012:role/totes-dev-spark"
PROGRAM = "s3://artefacts/spark/0123456789abcdef"
ORDERS = 800
MIN_BYTES = 20_000
"""Less than a batch that changes all orders has. The setting is in megabytes."""
CHANGE = "UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id <= "


class Spark:
    """EMR Serverless, whose jobs the test ends; moto ends them when they start."""

    def __init__(self, backend: EMRServerlessBackend, application: str) -> None:
        self.application = application
        self._backend = backend

    @property
    def jobs(self) -> list[JobRun]:
        """All jobs but that of the operator."""
        return list(self._backend.job_runs[self.application][1:])

    def end(self, state: str) -> None:
        self.jobs[-1].state = state


def large_batches(
    application: SparkApplication, ingestion: Store, processed: Store, min_bytes: int
) -> LargeBatches:
    """Return where large batches go, with a limit that the test's batches reach."""
    assert min_bytes == 2 * 10**9
    return LargeBatches(application, ingestion, processed, MIN_BYTES)


@pytest.fixture
def spark(cloud: Handlers, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spark]:
    """An application, on which an operator has run a job of another name."""
    monkeypatch.setattr("moto.emrserverless.models.JOB_STATUS", "SUBMITTED")
    emr = boto3.client("emr-serverless")
    application = emr.create_application(
        name="totes-dev", releaseLabel="emr-7.10.0", type="SPARK", clientToken="one"
    )["applicationId"]
    monkeypatch.setenv("TOTES_SPARK_APPLICATION", application)
    monkeypatch.setenv("TOTES_SPARK_ROLE", ROLE)
    monkeypatch.setenv("TOTES_SPARK_PROGRAM", PROGRAM)
    monkeypatch.setenv("TOTES_SPARK_MIN_SIZE", "2GB")
    monkeypatch.setattr(handlers, "LargeBatches", large_batches)
    configured = SparkApplication.from_settings(load_settings())
    assert configured is not None
    configured.start("by hand", "by-hand", ["transform"])
    cloud.installation.add_orders(ORDERS)
    cloud.call("ingest")
    yield Spark(emrserverless_backends["123456789012"]["us-east-1"], application)
    emrserverless_backends["123456789012"]["us-east-1"].reset()


def ingest_change(cloud: Handlers, rows: int) -> None:
    cloud.installation.change(f"{CHANGE}{rows}")
    cloud.call("ingest")


def transform_here() -> None:
    """Do what the job does, with DuckDB."""
    settings = load_settings()
    for _ in transform(open_store(settings.ingestion), open_store(settings.processed)):
        pass


def spark_metrics(cloud: Handlers) -> tuple[float, float]:
    [metrics] = [found for found in cloud.metrics() if found["service"] == "transform"]
    return metrics["SparkFailures"], metrics["SparkMinutes"]


def test_a_large_batch_is_left_to_one_job_and_nothing_overtakes_it(
    cloud: Handlers, spark: Spark
) -> None:
    ingest_change(cloud, 1)
    cloud.metrics()
    answers = [cloud.call("transform") for _ in range(3)]
    [job] = spark.jobs
    assert [answer["batches"] for answer in answers] == [[], [], []]
    assert [answer["spark"] for answer in answers] == [{"batch": 1, "job": job.id}] * 3
    assert all(metrics["LagSeconds"] > 0 for metrics in cloud.metrics())

    transform_here()  # also the small batch 2
    spark.end("SUCCESS")
    assert cloud.call("transform")["spark"] is None
    assert spark_metrics(cloud) == (0, 0)
    assert [one.id for one in spark.jobs] == [job.id]


def test_small_batches_before_a_large_one_are_transformed_by_the_function(
    cloud: Handlers, spark: Spark
) -> None:
    transform_here()
    ingest_change(cloud, 1)
    ingest_change(cloud, 2)
    ingest_change(cloud, ORDERS)
    ingest_change(cloud, 1)
    answer = cloud.call("transform")
    assert answer["batches"] == [2, 3]
    assert answer["spark"] == {"batch": 4, "job": spark.jobs[0].id}
    assert [job.name for job in spark.jobs] == ["transform-1-4-0123456789abcdef"]


def test_a_job_that_runs_is_not_joined_by_one_for_a_later_large_batch(
    cloud: Handlers, spark: Spark
) -> None:
    """It goes on with the batches that follow its own."""
    cloud.call("transform")
    [job] = spark.jobs
    transform_here()
    ingest_change(cloud, ORDERS)
    assert cloud.call("transform")["spark"] == {"batch": 2, "job": job.id}
    spark.end("SUCCESS")
    cloud.call("transform")
    assert [str(one.name).split("-")[2] for one in spark.jobs] == ["1", "2"]


def test_calls_that_see_the_same_jobs_use_the_same_token(cloud: Handlers, spark: Spark) -> None:
    """Of two requests with one token, EMR starts the first; moto starts both."""
    listed = list[spark_jobs.JobRun]()
    cloud.patch.setattr(SparkApplication, "runs", lambda _: iter(listed))
    cloud.call("transform")
    cloud.call("transform")
    first, second = spark.jobs
    assert first.client_token == second.client_token == "transform-1-1-0123456789abcdef-0"
    for same in ("name", "job_driver", "configuration_overrides", "execution_role_arn"):
        assert getattr(first, same) == getattr(second, same)


def test_a_batch_that_is_published_meanwhile_starts_no_job(cloud: Handlers, spark: Spark) -> None:
    def publish_and_list(_: SparkApplication) -> Iterator[spark_jobs.JobRun]:
        transform_here()
        return iter(())

    cloud.patch.setattr(SparkApplication, "runs", publish_and_list)
    assert cloud.call("transform")["spark"] is None
    assert spark.jobs == []


def test_a_failed_job_is_started_again_a_limited_number_of_times(
    cloud: Handlers, spark: Spark
) -> None:
    endings = ["FAILED", "CANCELLED", "SUCCESS"]  # the last without publishing the batch
    assert len(endings) == MAX_ATTEMPTS
    for failures, state in enumerate(endings):
        cloud.metrics()
        assert cloud.call("transform")["spark"]["job"] == spark.jobs[-1].id
        assert spark_metrics(cloud)[0] == failures
        spark.end(state)
    answers = [cloud.call("transform")["spark"] for _ in range(2)]
    assert answers == [{"batch": 1, "job": None}] * 2
    assert [job.client_token[-2:] for job in spark.jobs] == ["-0", "-1", "-2"]
    assert {found["SparkFailures"] for found in cloud.metrics()} == {MAX_ATTEMPTS}
    assert "3 Spark jobs named transform-1-1-" in str(cloud.lines())

    cloud.patch.setenv("TOTES_SPARK_PROGRAM", PROGRAM.replace("0123", "4567"))
    assert cloud.call("transform")["spark"]["job"] == spark.jobs[-1].id, "a repaired release"
    assert spark.jobs[-1].client_token == "transform-1-1-4567456789abcdef-0"


def test_how_long_a_job_runs_is_measured(cloud: Handlers, spark: Spark) -> None:
    cloud.call("transform")
    spark.jobs[0].created_at = datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=5)
    cloud.metrics()
    cloud.call("transform")
    failures, minutes = spark_metrics(cloud)
    assert failures == 0
    assert 300 <= minutes < 320


def test_a_job_has_the_stores_and_the_packages_and_no_login(cloud: Handlers, spark: Spark) -> None:
    cloud.call("transform")
    [job] = spark.jobs
    settings = load_settings()
    assert job.job_driver == {
        "sparkSubmit": {
            "entryPoint": f"{PROGRAM}/job.py",
            "entryPointArguments": ["transform", "--engine", "spark"],
        }
    }
    assert job.execution_role_arn == ROLE
    overrides: Any = job.configuration_overrides
    [configuration] = overrides["applicationConfiguration"]
    properties = configuration["properties"]
    assert configuration["classification"] == "spark-defaults"
    assert properties["spark.archives"] == f"{PROGRAM}/packages.tar.gz#packages"
    prefix = "spark.emr-serverless.driverEnv."
    environment = {
        name.removeprefix(prefix): value
        for name, value in properties.items()
        if name.startswith(prefix)
    }
    assert environment["PYTHONPATH"] == "./packages"
    assert {name: value for name, value in environment.items() if name.startswith("TOTES_")} == {
        "TOTES_HOME": "/tmp/totes",  # noqa: S108  on a worker of EMR
        "TOTES_MEMORY": "5GB",
        "TOTES_INGESTION_URL": settings.ingestion,
        "TOTES_PROCESSED_URL": settings.processed,
        "TOTES_SPARK_MIN_SIZE": "2000MB",
    }
    for name, value in environment.items():
        if name.startswith("TOTES_"):
            cloud.patch.setenv(name, value)
    load_settings()  # accepts them
    logs = overrides["monitoringConfiguration"]["cloudWatchLoggingConfiguration"]
    assert logs["logGroupName"] == "/aws/emr-serverless/totes-dev-spark"


def test_what_emr_refuses_fails_the_call_with_its_reason(cloud: Handlers, spark: Spark) -> None:
    cloud.patch.setenv("TOTES_SPARK_ROLE", ROLE.replace("123456789012", "999999999999"))
    with pytest.raises(UsageError, match=r"can't start transform-1-1-.*Cross-account.*SPARK_ROLE"):
        cloud.call("transform")
    assert spark.jobs == []
    cloud.patch.setenv("TOTES_SPARK_APPLICATION", "none")
    with pytest.raises(UsageError, match=r"none can't list its jobs: .*does not exist"):
        cloud.call("transform")


@pytest.mark.usefixtures("spark")
def test_an_application_without_role_and_program_is_refused(cloud: Handlers) -> None:
    cloud.patch.delenv("TOTES_SPARK_PROGRAM")
    with pytest.raises(UsageError, match="TOTES_SPARK_PROGRAM"):
        cloud.call("transform")


def test_without_an_application_the_function_transforms_all(cloud: Handlers, spark: Spark) -> None:
    cloud.patch.delenv("TOTES_SPARK_APPLICATION")
    answer = cloud.call("transform")
    assert (answer["batches"], answer["spark"], spark.jobs) == ([1], None, [])
    assert "SparkFailures" not in cloud.metrics()[-1]
