"""The Lambda handlers between a real totesys and a real warehouse, with AWS simulated by moto."""

import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from installation import Installation, at
from s3_service import S3Service, forget_clients

from totes.aws import handlers
from totes.config.settings import Dsn
from totes.errors import ModelError, SourceUnavailable, UsageError, WarehouseError
from totes.stages.runner import STAGES, StageHealth

PASSWORD = "open-sesame-of-the-vault"
CHANGE = "UPDATE sales_order SET units_sold = units_sold + 1 WHERE sales_order_id = 1"
BROKEN_DATE = "UPDATE sales_order SET agreed_delivery_date = 'soon' WHERE sales_order_id = 2"
SOON = 30_000
LONG = 900_000

FUNCTIONS: dict[str, Callable[[object, handlers.Context], dict[str, Any]]] = {
    "ingest": handlers.ingest,
    "transform": handlers.transform,
    "load": handlers.load,
}


@dataclass(frozen=True)
class Context:
    """A context with a constant remaining time."""

    left_ms: int = LONG
    aws_request_id: str = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


@dataclass
class Cloud:
    """The platform on AWS: its functions, logs, metrics and alerts."""

    installation: Installation
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    logs: io.StringIO
    queue_url: str
    printed: list[str] = field(default_factory=list)

    def call(self, stage: str, left_ms: int = LONG) -> dict[str, Any]:
        return FUNCTIONS[stage]({"detail": "ignored"}, Context(left_ms))

    def call_all(self) -> list[dict[str, Any]]:
        return [self.call(stage) for stage in STAGES]

    def metrics(self) -> list[dict[str, Any]]:
        """Return the new metrics, a dictionary of values by name for each call."""
        lines = self.capture.readouterr().out.splitlines()
        self.printed += lines
        found = []
        for line in map(json.loads, lines):
            [directive] = line["_aws"]["CloudWatchMetrics"]
            assert directive["Namespace"] == "totes"
            assert [set(names) for names in directive["Dimensions"]] == [{"service", "environment"}]
            named = {one["Name"]: line[one["Name"]][0] for one in directive["Metrics"]}
            found.append({**named, "service": line["service"], "environment": line["environment"]})
        return found

    def lines(self) -> list[dict[str, Any]]:
        """All log lines."""
        return [json.loads(line) for line in self.logs.getvalue().splitlines()]

    def mail(self) -> list[dict[str, Any]]:
        """Return the new messages of the alert topic."""
        sqs = boto3.client("sqs")
        got = sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10)
        for message in got.get("Messages", []):
            sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(one["Body"]) for one in got.get("Messages", [])]

    def put_secret(self, name: str, dsn: Dsn, **others: str) -> None:
        parts = {key: str(value) for key, value in dsn.parts.items()}
        text = json.dumps({**parts, "password": PASSWORD, **others})
        boto3.client("secretsmanager").put_secret_value(SecretId=name, SecretString=text)


@pytest.fixture
def cloud(
    installation: Installation,
    service: S3Service,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Iterator[Cloud]:
    """Buckets, secrets, a topic with a subscription, and handlers in their initial state."""
    service.environment(monkeypatch)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("ENVIRONMENT", "test")
    monkeypatch.chdir(tmp_path)
    bucket = service.new_bucket()
    topic = boto3.client("sns").create_topic(Name=bucket)["TopicArn"]
    sqs = boto3.client("sqs")
    queue_url = sqs.create_queue(QueueName=bucket)["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=queue_url, AttributeNames=["QueueArn"])
    boto3.client("sns").subscribe(
        TopicArn=topic, Protocol="sqs", Endpoint=queue["Attributes"]["QueueArn"]
    )
    settings = {
        "TOTES_SOURCE_SECRET": f"{bucket}-source",
        "TOTES_WAREHOUSE_SECRET": f"{bucket}-warehouse",
        "TOTES_INGESTION_URL": f"s3://{bucket}/ingestion",
        "TOTES_PROCESSED_URL": f"s3://{bucket}/processed",
        "TOTES_ALERT_TOPIC": topic,
        "TOTES_RATES": "off",
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    logs = io.StringIO()
    cloud = Cloud(installation, monkeypatch, capsys, logs, queue_url)
    for place, dsn in (("source", installation.source), ("warehouse", installation.warehouse)):
        boto3.client("secretsmanager").create_secret(Name=f"{bucket}-{place}")
        cloud.put_secret(f"{bucket}-{place}", dsn)
    package = logging.getLogger("totes")
    before = (package.handlers, package.propagate, package.level)
    monkeypatch.setattr(handlers.logger.handlers[0], "stream", logs)
    monkeypatch.setattr(handlers, "_health", {stage: StageHealth() for stage in STAGES})
    forget_clients()
    yield cloud
    forget_clients()
    package.handlers, package.propagate = before[0], before[1]
    package.setLevel(before[2])


def units(cloud: Cloud) -> int:
    [(found,)] = cloud.installation.query(
        "SELECT units_sold FROM current_sales_order WHERE sales_order_id = 1"
    )
    return int(found)


def test_a_change_arrives_in_the_warehouse_and_every_stage_writes_metrics(
    cloud: Cloud,
) -> None:
    cloud.installation.with_orders(8)
    cloud.call_all()
    before = units(cloud)
    cloud.metrics()
    cloud.installation.change(CHANGE)
    answers = cloud.call_all()
    assert units(cloud) == before + 1
    assert answers[0]["rows"] == 1
    assert answers == [
        {
            "stage": stage,
            "batches": [2],
            "rows": answer["rows"],
            "quarantined": 0,
            "stopped_early": False,
        }
        for stage, answer in zip(STAGES, answers, strict=True)
    ]
    measured = cloud.metrics()
    assert [one["service"] for one in measured] == list(STAGES)
    assert [one["Rows"] for one in measured] == [answer["rows"] for answer in answers]
    for one in measured:
        assert one["environment"] == "test"
        assert (one["Batches"], one["Failures"], one["QuarantinedRows"]) == (1, 0, 0)
        assert one["Bytes"] > 0
        assert 0 <= one["LagSeconds"] < 300
        assert one["DurationSeconds"] > 0
    batch_lines = [line for line in cloud.lines() if line.get("correlation_id") == "2"]
    assert {line["service"] for line in batch_lines} == set(STAGES)
    assert {line["request_id"] for line in cloud.lines()} == {"request-1"}
    assert cloud.mail() == []


def test_load_records_the_time_of_a_check_without_changes(cloud: Cloud) -> None:
    """Load takes it from the heartbeat, and records it in totes.freshness."""
    cloud.installation.with_orders(3)
    cloud.call_all()
    [(captured_at,)] = cloud.installation.query("SELECT checked_at FROM totes.freshness")
    cloud.patch.setattr("totes.stages.ingest.HEARTBEAT_INTERVAL", timedelta())
    assert [answer["batches"] for answer in cloud.call_all()] == [[], [], []]
    [(checked_at,)] = cloud.installation.query("SELECT checked_at FROM totes.freshness")
    assert checked_at > captured_at
    cloud.installation.change(CHANGE)
    cloud.call("ingest")
    cloud.metrics()
    cloud.call("load")
    assert cloud.installation.query("SELECT checked_at FROM totes.freshness") == [(checked_at,)], (
        "a batch that is captured but not loaded must not change it"
    )
    [measured] = cloud.metrics()
    assert measured["LagSeconds"] == pytest.approx(
        (datetime.now(UTC) - checked_at).total_seconds(), abs=60
    )


def test_before_the_first_capture_there_is_nothing_to_do_and_no_lag(cloud: Cloud) -> None:
    answers = [cloud.call("transform"), cloud.call("load")]
    assert [answer["batches"] for answer in answers] == [[], []]
    assert "LagSeconds" not in cloud.metrics()[-1], "an alarm treats missing data as late"


def test_a_machine_and_the_functions_can_replace_each_other(cloud: Cloud) -> None:
    """A first load that is too large for a function runs on a machine."""
    machine = Installation(
        cloud.installation.owner, cloud.installation.source, cloud.installation.warehouse, Path()
    )
    machine = machine.with_settings(
        **{
            name: os.environ[f"TOTES_{name.upper()}"] for name in ("ingestion_url", "processed_url")
        },
        source_secret="",
        warehouse_secret="",
        alert_topic="",
    )
    machine.with_orders(8)
    for round_ in range(2):
        assert machine.totes("run", "--once").exit_code == 0
        assert [answer["batches"] for answer in cloud.call_all()] == [[], [], []]
        machine.change(CHANGE)
        assert cloud.call("ingest")["batches"] == [2 + 2 * round_]
        machine.change(CHANGE)
        assert machine.totes("ingest").exit_code == 0
        batches = [2 + 2 * round_, 3 + 2 * round_]
        assert cloud.call("transform")["batches"] == batches
        assert cloud.call("load")["batches"] == batches
    verified = machine.totes("verify")
    assert verified.exit_code == 0, verified.output
    assert machine.query("SELECT array_agg(batch ORDER BY batch) FROM totes.batches") == [
        ([1, 2, 3, 4, 5],)
    ]


def test_a_call_short_of_time_stops_between_batches_and_the_next_continues(
    cloud: Cloud,
) -> None:
    cloud.installation.with_orders(3)
    for _ in range(3):
        cloud.call("ingest")
        cloud.installation.change(CHANGE)
    first = cloud.call("transform", SOON)
    assert (first["batches"], first["stopped_early"]) == ([1], True)
    assert cloud.metrics()[-1]["LagSeconds"] > 0, "the second batch is pending since its capture"
    assert cloud.call("load", SOON)["batches"] == [1]
    assert cloud.call("transform", SOON)["batches"] == [2]
    rest = cloud.call("transform")
    assert (rest["batches"], rest["stopped_early"]) == ([3], False)
    assert cloud.call("load")["batches"] == [2, 3]


def test_the_reserve_grows_with_the_batches(cloud: Cloud) -> None:
    cloud.installation.with_orders(3)
    for _ in range(2):
        cloud.call("ingest")
        cloud.installation.change(CHANGE)
    cloud.patch.setattr(handlers, "LONGEST_BATCH_FACTOR", 1e6)
    assert cloud.call("transform", LONG)["batches"] == [1]


def test_concurrent_calls_process_each_batch_once(cloud: Cloud) -> None:
    cloud.installation.with_orders(3)
    for _ in range(3):
        cloud.call("ingest")
        cloud.installation.change(CHANGE)
    for stage in ("transform", "load"):
        with ThreadPoolExecutor(2) as two:
            answers = list(two.map(cloud.call, [stage] * 2))
        assert sorted(answers[0]["batches"] + answers[1]["batches"]) == [1, 2, 3]
    assert cloud.installation.query("SELECT count(*) FROM totes.batches") == [(3,)]


def test_a_failing_stage_raises_and_alerts_once_until_it_works_again(
    cloud: Cloud,
) -> None:
    cloud.installation.with_orders(3)
    cloud.call("ingest")
    cloud.metrics()

    def fail() -> None:
        raise ModelError("Model fact_payment can't run on batch 1.")

    for _ in range(2):
        with at("transform.before-manifest", fail), pytest.raises(ModelError, match="can't run"):
            cloud.call("transform")
    assert [(one["Failures"], one["Batches"]) for one in cloud.metrics()] == [(1, 0), (1, 0)]
    [mail] = cloud.mail()
    assert mail["Subject"] == "totes transform: Model fact_payment can't run on batch 1."
    assert json.loads(mail["Message"]) == {
        "stage": "transform",
        "message": "Model fact_payment can't run on batch 1.",
        "exit_code": 6,
    }
    [line, _] = [line for line in cloud.lines() if line["level"] == "ERROR"]
    assert line["correlation_id"] == "1"
    assert cloud.call("transform")["batches"] == [1]
    assert cloud.metrics()[-1]["Failures"] == 0
    cloud.installation.change(CHANGE)
    cloud.call("ingest")
    with at("transform.before-manifest", fail), pytest.raises(ModelError):
        cloud.call("transform")
    assert len(cloud.mail()) == 1


def test_a_transient_error_is_retried_within_a_call(cloud: Cloud) -> None:
    cloud.installation.with_orders(3)
    left = [SourceUnavailable("The source is not available.")] * 2

    def fail() -> None:
        if left:
            raise left.pop()

    cloud.patch.setattr("totes.error_policy.FIRST_PAUSE_SECONDS", 0.0)
    cloud.patch.setattr("totes.error_policy.MAX_PAUSE_SECONDS", 0.0)
    with at("source.locked", fail):
        assert cloud.call("ingest")["batches"] == [1]
    assert not left
    assert cloud.mail() == []


def test_quarantined_rows_raise_an_alert_and_are_counted_until_released(cloud: Cloud) -> None:
    cloud.installation.with_orders(3)
    cloud.call_all()
    cloud.installation.change(BROKEN_DATE)
    _, transformed, loaded = cloud.call_all()
    assert (transformed["quarantined"], loaded["quarantined"]) == (1, 1)
    [mail] = cloud.mail()
    assert json.loads(mail["Message"])["refused"] == {"fact_sales_order": 1}
    cloud.metrics()
    assert [answer["quarantined"] for answer in cloud.call_all()] == [0, 0, 1]
    assert [one["QuarantinedRows"] for one in cloud.metrics()] == [0, 0, 1]


def test_invalid_settings_raise_an_alert(cloud: Cloud) -> None:
    cloud.patch.setenv("TOTES_EVRY", "5s")
    with pytest.raises(UsageError, match="did you mean TOTES_EVERY"):
        cloud.call("load")
    [mail] = cloud.mail()
    assert json.loads(mail["Message"])["exit_code"] == 2


def test_a_missing_alert_topic_stops_no_stage(cloud: Cloud) -> None:
    cloud.patch.setenv("TOTES_ALERT_TOPIC", "arn:aws:sns:us-east-1:123456789012:nowhere")
    cloud.installation.with_orders(3)
    cloud.installation.change(BROKEN_DATE)
    assert [answer["batches"] for answer in cloud.call_all()] == [[1], [1], [1]]
    assert "The alert topic failed: " in cloud.logs.getvalue()


def test_each_function_needs_only_its_own_settings(cloud: Cloud) -> None:
    """So its role needs no other permissions."""
    cloud.installation.with_orders(3)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TOTES_WAREHOUSE_SECRET")
        patch.delenv("TOTES_PROCESSED_URL")
        assert cloud.call("ingest")["batches"] == [1]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TOTES_SOURCE_SECRET")
        patch.delenv("TOTES_WAREHOUSE_SECRET")
        assert cloud.call("transform")["batches"] == [1]
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TOTES_SOURCE_SECRET")
        assert cloud.call("load")["batches"] == [1]


def test_no_failure_logs_a_secret(cloud: Cloud) -> None:
    cloud.installation.with_orders(3)
    cloud.call_all()
    source, warehouse = (os.environ[f"TOTES_{place}_SECRET"] for place in ("SOURCE", "WAREHOUSE"))
    cloud.patch.setattr("totes.error_policy.MAX_ATTEMPTS", 1)
    cloud.put_secret(source, cloud.installation.source, host="/nowhere")
    cloud.put_secret(warehouse, cloud.installation.warehouse, user="nobody")
    forget_clients()
    for stage, kind in (("ingest", SourceUnavailable), ("load", WarehouseError)):
        with pytest.raises(kind):
            cloud.call(stage)
    boto3.client("secretsmanager").put_secret_value(SecretId=source, SecretString=PASSWORD)
    forget_clients()
    with pytest.raises(UsageError):
        cloud.call("ingest")
    cloud.put_secret(source, cloud.installation.source)
    forget_clients()

    def bug() -> None:
        raise RuntimeError("unexpected")

    cloud.installation.change(CHANGE)
    with at("ingest.captured", bug), pytest.raises(RuntimeError):
        cloud.call("ingest")
    mails = cloud.mail()
    assert len(mails) == 3  # a transient error raises no alert yet
    cloud.metrics()
    texts = [cloud.logs.getvalue(), *cloud.printed, json.dumps(mails)]
    assert "Traceback" in texts[0], "the traceback of the bug is among the texts"
    assert not [
        text for text in texts if PASSWORD in text or os.environ["AWS_SECRET_ACCESS_KEY"] in text
    ]


SCRIPT = """
import sys
from totes.aws import handlers

class Context:
    aws_request_id = "request"
    def get_remaining_time_in_millis(self):
        return 900_000

for stage in ("ingest", "transform", "load"):
    getattr(handlers, stage)({}, Context())
"""


def test_files_are_written_to_the_temporary_folder_only(cloud: Cloud, tmp_path: Path) -> None:
    """On Lambda all other folders are read-only, and there is no home directory."""
    cloud.installation.with_orders(3)
    task, scratch = tmp_path / "task", tmp_path / "scratch"
    scratch.mkdir()
    task.mkdir(mode=0o555)
    names = ("AWS_", "TOTES_", "ENVIRONMENT")
    environment = {name: value for name, value in os.environ.items() if name.startswith(names)}
    done = subprocess.run(
        [sys.executable, "-B", "-c", SCRIPT],
        cwd=task,
        env={**environment, "TMPDIR": str(scratch), "HOME": str(task / "nowhere")},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert '"batches":[1]' in done.stdout.replace(" ", "")
    assert cloud.installation.query("SELECT count(*) FROM totes.batches") == [(1,)]
    assert list(task.iterdir()) == list(scratch.iterdir()) == []
