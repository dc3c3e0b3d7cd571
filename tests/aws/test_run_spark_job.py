"""The tool that runs a command as a job on EMR Serverless and shows its log."""

import time
from collections.abc import Iterator

import boto3
import pytest
import run_spark_job
from followed_log import INTERRUPTED, RunFailed
from moto.emrserverless.models import JobRun, emrserverless_backends
from run_spark_job import Job, Log, application, run
from s3_service import S3Service, forget_clients

from totes.aws.spark_jobs import SparkApplication

ROLE = "arn:aws:iam::123456789012:role/totes-dev-spark"
GROUP = "/aws/emr-serverless/totes-dev-spark"
STORES = {"TOTES_INGESTION_URL": "s3://ingestion", "TOTES_PROCESSED_URL": "s3://processed"}


@pytest.fixture
def where(service: S3Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[SparkApplication]:
    """An application, as modules/spark makes it."""
    service.environment(monkeypatch)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setattr("moto.emrserverless.models.JOB_STATUS", "RUNNING")
    emr = boto3.client("emr-serverless")
    made = emr.create_application(
        name="totes-dev", releaseLabel="emr-7.10.0", type="SPARK", clientToken="one"
    )
    boto3.client("logs").create_log_group(logGroupName=GROUP)
    yield SparkApplication(
        made["applicationId"], ROLE, "s3://artefacts/spark/0123", STORES, made["arn"]
    )
    boto3.client("logs").delete_log_group(logGroupName=GROUP)
    emrserverless_backends["123456789012"]["us-east-1"].reset()
    forget_clients()


def newest(where: SparkApplication) -> JobRun:
    runs = emrserverless_backends["123456789012"]["us-east-1"].job_runs[where.identifier]
    return runs[-1]


def write(where: SparkApplication, stream: str, *lines: str) -> None:
    logs, name = boto3.client("logs"), f"{newest(where).client_token}/{stream}"
    found = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=name)
    if not found["logStreams"]:
        logs.create_log_stream(logGroupName=GROUP, logStreamName=name)
    now = int(time.time() * 1000)
    events = [{"timestamp": now, "message": line} for line in lines]
    logs.put_log_events(logGroupName=GROUP, logStreamName=name, logEvents=events)


def test_the_log_of_a_job_is_shown_once_until_its_end(
    where: SparkApplication, capsys: pytest.CaptureFixture[str]
) -> None:
    steps = iter(range(3))

    def wait(_seconds: float) -> None:
        step = next(steps)
        if step < 2:
            write(where, "driver/stderr", f"line {step}")
        if step == 1:
            newest(where).state = "SUCCESS"
            write(where, "driver/stdout", "the last")

    assert run(where, ["transform", "--engine", "spark"], wait) == 0
    shown = capsys.readouterr()
    assert sorted(shown.out.splitlines()) == ["line 0", "line 1", "the last"]
    assert "totes-dev-spark: totes transform --engine spark succeeded." in shown.err
    job = newest(where)
    assert job.job_driver == {
        "sparkSubmit": {
            "entryPoint": "s3://artefacts/spark/0123/job.py",
            "entryPointArguments": ["transform", "--engine", "spark"],
        }
    }
    assert job.execution_role_arn == ROLE


def test_two_commands_are_two_jobs(where: SparkApplication) -> None:
    def succeed(_seconds: float) -> None:
        newest(where).state = "SUCCESS"

    tokens = []
    for _ in range(2):
        assert run(where, ["transform"], succeed) == 0
        tokens.append(newest(where).client_token)
    assert len({*tokens}) == 2


def test_a_job_that_does_not_succeed_is_an_error_with_its_reason(where: SparkApplication) -> None:
    def fail(_seconds: float) -> None:
        newest(where).state = "FAILED"
        newest(where).state_details = "Job failed, please check complete logs"

    with pytest.raises(RunFailed, match=r"totes verify ended: FAILED\. Job failed, please check"):
        run(where, ["verify"], fail)


def test_ctrl_c_leaves_the_job_running_and_says_how_to_stop_it(
    where: SparkApplication, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    assert run(where, ["transform"], interrupt) == INTERRUPTED
    job = newest(where)
    advice = capsys.readouterr().err
    assert f"--job-run-id {job.id}" in advice
    assert f"aws logs tail {GROUP} --region us-east-1" in advice
    assert f"--log-stream-name-prefix {job.client_token}" in advice
    assert job.state == "RUNNING"


def test_lines_that_arrive_late_are_shown(where: SparkApplication) -> None:
    job = Job(where, where.start("by hand", "one", ["transform"]), "one")
    log = Log(boto3.client("logs"), job)
    write(where, "stderr", "new")
    assert list(log.new_lines()) == ["new"]
    logs, now = boto3.client("logs"), int(time.time() * 1000)
    late = {"timestamp": now - 30_000, "message": "late"}
    logs.create_log_stream(logGroupName=GROUP, logStreamName="one/stdout")
    logs.put_log_events(logGroupName=GROUP, logStreamName="one/stdout", logEvents=[late])
    assert list(log.new_lines()) == ["late"]
    assert list(log.new_lines()) == []


def test_without_spark_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_spark_job, "output", lambda _: None)
    with pytest.raises(RunFailed, match="spark_enabled is false"):
        application()
