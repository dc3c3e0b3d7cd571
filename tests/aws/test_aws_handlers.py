"""The Lambda functions, between a real totesys and a real warehouse, with AWS as moto has it."""

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
from s3_service import S3Service

from totes.aws import handlers
from totes.config import secrets as secret
from totes.config.settings import Dsn
from totes.errors import ModelError, SourceAway, UsageError, WarehouseError
from totes.stages.runner import STAGES, Health

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
    """A call with so much time left, whenever it is asked."""

    left_ms: int = LONG
    aws_request_id: str = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


@dataclass
class Cloud:
    """The platform on AWS: its functions, and everything that they say."""

    installation: Installation
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    logs: io.StringIO
    mailbox: str
    printed: list[str] = field(default_factory=list)

    def call(self, stage: str, left_ms: int = LONG) -> dict[str, Any]:
        return FUNCTIONS[stage]({"detail": "only a hint"}, Context(left_ms))

    def call_all(self) -> list[dict[str, Any]]:
        return [self.call(stage) for stage in STAGES]

    def metrics(self) -> list[dict[str, Any]]:
        """What was given to CloudWatch since it was last asked, a call each: name to value."""
        lines = self.capture.readouterr().out.splitlines()
        self.printed += lines
        found = []
        for line in map(json.loads, lines):
            [told] = line["_aws"]["CloudWatchMetrics"]
            assert told["Namespace"] == "totes"
            assert [set(names) for names in told["Dimensions"]] == [{"service", "environment"}]
            named = {one["Name"]: line[one["Name"]][0] for one in told["Metrics"]}
            found.append({**named, "service": line["service"], "environment": line["environment"]})
        return found

    def lines(self) -> list[dict[str, Any]]:
        """All log lines."""
        return [json.loads(line) for line in self.logs.getvalue().splitlines()]

    def mail(self) -> list[dict[str, Any]]:
        """What SNS sent on since it was last asked."""
        sqs = boto3.client("sqs")
        got = sqs.receive_message(QueueUrl=self.mailbox, MaxNumberOfMessages=10)
        for message in got.get("Messages", []):
            sqs.delete_message(QueueUrl=self.mailbox, ReceiptHandle=message["ReceiptHandle"])
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
    """Buckets, secrets, a topic with a subscriber, and processes that were just started."""
    service.environment(monkeypatch)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("ENVIRONMENT", "test")
    monkeypatch.chdir(tmp_path)
    bucket = service.new_bucket()
    topic = boto3.client("sns").create_topic(Name=bucket)["TopicArn"]
    sqs = boto3.client("sqs")
    mailbox = sqs.create_queue(QueueName=bucket)["QueueUrl"]
    queue = sqs.get_queue_attributes(QueueUrl=mailbox, AttributeNames=["QueueArn"])
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
    made = Cloud(installation, monkeypatch, capsys, logs, mailbox)
    for place, dsn in (("source", installation.source), ("warehouse", installation.warehouse)):
        boto3.client("secretsmanager").create_secret(Name=f"{bucket}-{place}")
        made.put_secret(f"{bucket}-{place}", dsn)
    package = logging.getLogger("totes")
    before = (package.handlers, package.propagate, package.level)
    monkeypatch.setattr(handlers.logger.handlers[0], "stream", logs)
    monkeypatch.setattr(handlers, "_health", {stage: Health() for stage in STAGES})
    secret._kept_provider.cache_clear()
    yield made
    secret._kept_provider.cache_clear()
    package.handlers, package.propagate = before[0], before[1]
    package.setLevel(before[2])


def units(cloud: Cloud) -> int:
    [(found,)] = cloud.installation.ask(
        "SELECT units_sold FROM current_sales_order WHERE sales_order_id = 1"
    )
    return int(found)


def test_a_change_in_totesys_arrives_in_the_warehouse_and_all_of_it_is_measured(
    cloud: Cloud,
) -> None:
    cloud.installation.filled(8)
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
    told = [line for line in cloud.lines() if line.get("correlation_id") == "2"]
    assert {line["service"] for line in told} == set(STAGES)
    assert {line["request_id"] for line in cloud.lines()} == {"request-1"}
    assert cloud.mail() == []


def test_how_fresh_the_warehouse_is_does_not_depend_on_a_run(cloud: Cloud) -> None:
    """A heartbeat in the lake is enough; load records it where analysts see it."""
    cloud.installation.filled(3)
    cloud.call_all()
    [(captured_at,)] = cloud.installation.ask("SELECT checked_at FROM totes.freshness")
    cloud.patch.setattr("totes.stages.ingest.HEARTBEAT_EVERY", timedelta())
    assert [answer["batches"] for answer in cloud.call_all()] == [[], [], []]
    [(checked_at,)] = cloud.installation.ask("SELECT checked_at FROM totes.freshness")
    assert checked_at > captured_at
    cloud.installation.change(CHANGE)
    cloud.call("ingest")
    cloud.metrics()
    cloud.call("load")
    assert cloud.installation.ask("SELECT checked_at FROM totes.freshness") == [(checked_at,)], (
        "a batch that is captured and not loaded makes nothing fresher"
    )
    [measured] = cloud.metrics()
    assert measured["LagSeconds"] == pytest.approx(
        (datetime.now(UTC) - checked_at).total_seconds(), abs=60
    )


def test_before_the_first_capture_there_is_nothing_to_do_and_nothing_to_tell(cloud: Cloud) -> None:
    answers = [cloud.call("transform"), cloud.call("load")]
    assert [answer["batches"] for answer in answers] == [[], []]
    assert "LagSeconds" not in cloud.metrics()[-1], "an alarm counts missing data as late"


def test_a_machine_and_the_functions_take_over_from_each_other(cloud: Cloud) -> None:
    """As a first load does that is too large for a function."""
    machine = Installation(
        cloud.installation.owner, cloud.installation.source, cloud.installation.warehouse, Path()
    )
    machine = machine.having(
        **{
            name: os.environ[f"TOTES_{name.upper()}"] for name in ("ingestion_url", "processed_url")
        },
        source_secret="",
        warehouse_secret="",
        alert_topic="",
    )
    machine.filled(8)
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
    assert machine.ask("SELECT array_agg(batch ORDER BY batch) FROM totes.batches") == [
        ([1, 2, 3, 4, 5],)
    ]


def test_time_that_runs_short_stops_between_batches_and_the_next_call_goes_on(
    cloud: Cloud,
) -> None:
    cloud.installation.filled(3)
    for _ in range(3):
        cloud.call("ingest")
        cloud.installation.change(CHANGE)
    first = cloud.call("transform", SOON)
    assert (first["batches"], first["stopped_early"]) == ([1], True)
    assert cloud.metrics()[-1]["LagSeconds"] > 0, "the second batch waits since it was captured"
    assert cloud.call("load", SOON)["batches"] == [1]
    assert cloud.call("transform", SOON)["batches"] == [2]
    rest = cloud.call("transform")
    assert (rest["batches"], rest["stopped_early"]) == ([3], False)
    assert cloud.call("load")["batches"] == [2, 3]


def test_the_reserve_grows_with_the_batches(cloud: Cloud) -> None:
    cloud.installation.filled(3)
    for _ in range(2):
        cloud.call("ingest")
        cloud.installation.change(CHANGE)
    cloud.patch.setattr(handlers, "LONGER", 1e6)
    assert cloud.call("transform", LONG)["batches"] == [1]


def test_two_at_once_do_each_batch_once(cloud: Cloud) -> None:
    cloud.installation.filled(3)
    for _ in range(3):
        cloud.call("ingest")
        cloud.installation.change(CHANGE)
    for stage in ("transform", "load"):
        with ThreadPoolExecutor(2) as two:
            answers = list(two.map(cloud.call, [stage] * 2))
        assert sorted(answers[0]["batches"] + answers[1]["batches"]) == [1, 2, 3]
    assert cloud.installation.ask("SELECT count(*) FROM totes.batches") == [(3,)]


def test_a_failing_stage_raises_is_measured_and_told_once_until_it_works_again(
    cloud: Cloud,
) -> None:
    cloud.installation.filled(3)
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


def test_what_passes_by_itself_is_tried_again_within_a_call(cloud: Cloud) -> None:
    cloud.installation.filled(3)
    left = [SourceAway("The source is away.")] * 2

    def fail() -> None:
        if left:
            raise left.pop()

    cloud.patch.setattr("totes.policy.FIRST_PAUSE_SECONDS", 0.0)
    cloud.patch.setattr("totes.policy.LONGEST_PAUSE_SECONDS", 0.0)
    with at("source.locked", fail):
        assert cloud.call("ingest")["batches"] == [1]
    assert not left
    assert cloud.mail() == []


def test_rows_set_aside_are_told_and_counted_as_long_as_they_wait(cloud: Cloud) -> None:
    cloud.installation.filled(3)
    cloud.call_all()
    cloud.installation.change(BROKEN_DATE)
    _, transformed, loaded = cloud.call_all()
    assert (transformed["quarantined"], loaded["quarantined"]) == (1, 1)
    [mail] = cloud.mail()
    assert json.loads(mail["Message"])["refused"] == {"fact_sales_order": 1}
    cloud.metrics()
    assert [answer["quarantined"] for answer in cloud.call_all()] == [0, 0, 1]
    assert [one["QuarantinedRows"] for one in cloud.metrics()] == [0, 0, 1]


def test_settings_that_can_not_be_meant_are_told_too(cloud: Cloud) -> None:
    cloud.patch.setenv("TOTES_EVRY", "5s")
    with pytest.raises(UsageError, match="did you mean TOTES_EVERY"):
        cloud.call("load")
    [mail] = cloud.mail()
    assert json.loads(mail["Message"])["exit_code"] == 2


def test_a_topic_that_can_not_be_told_stops_nothing(cloud: Cloud) -> None:
    cloud.patch.setenv("TOTES_ALERT_TOPIC", "arn:aws:sns:us-east-1:123456789012:nowhere")
    cloud.installation.filled(3)
    cloud.installation.change(BROKEN_DATE)
    assert [answer["batches"] for answer in cloud.call_all()] == [[1], [1], [1]]
    assert "The alert topic failed: " in cloud.logs.getvalue()


def test_each_function_needs_only_its_own_settings(cloud: Cloud) -> None:
    """So its role need not be allowed more."""
    cloud.installation.filled(3)
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


def test_no_secret_is_logged_whatever_fails(cloud: Cloud) -> None:
    cloud.installation.filled(3)
    cloud.call_all()
    source, warehouse = (os.environ[f"TOTES_{place}_SECRET"] for place in ("SOURCE", "WAREHOUSE"))
    cloud.patch.setattr("totes.policy.TRIES", 1)
    cloud.put_secret(source, cloud.installation.source, host="/nowhere")
    cloud.put_secret(warehouse, cloud.installation.warehouse, user="nobody")
    secret._kept_provider.cache_clear()
    for stage, kind in (("ingest", SourceAway), ("load", WarehouseError)):
        with pytest.raises(kind):
            cloud.call(stage)
    boto3.client("secretsmanager").put_secret_value(SecretId=source, SecretString=PASSWORD)
    secret._kept_provider.cache_clear()
    with pytest.raises(UsageError):
        cloud.call("ingest")
    cloud.put_secret(source, cloud.installation.source)
    secret._kept_provider.cache_clear()

    def bug() -> None:
        raise RuntimeError("nobody foresaw this")

    cloud.installation.change(CHANGE)
    with at("ingest.captured", bug), pytest.raises(RuntimeError):
        cloud.call("ingest")
    mails = cloud.mail()
    assert len(mails) == 3  # what may pass by itself isn't told yet
    cloud.metrics()
    said = [cloud.logs.getvalue(), *cloud.printed, json.dumps(mails)]
    assert "Traceback" in said[0], "what is shown of a bug was looked at"
    assert not [
        text for text in said if PASSWORD in text or os.environ["AWS_SECRET_ACCESS_KEY"] in text
    ]


ALONE = """
import sys
from totes.aws import handlers

class Context:
    aws_request_id = "alone"
    def get_remaining_time_in_millis(self):
        return 900_000

for stage in ("ingest", "transform", "load"):
    getattr(handlers, stage)({}, Context())
"""


def test_nothing_is_written_but_in_the_temporary_folder(cloud: Cloud, tmp_path: Path) -> None:
    """On Lambda all else is read-only, and there is no home."""
    cloud.installation.filled(3)
    task, scratch = tmp_path / "task", tmp_path / "scratch"
    scratch.mkdir()
    task.mkdir(mode=0o555)
    names = ("AWS_", "TOTES_", "ENVIRONMENT")
    environment = {name: value for name, value in os.environ.items() if name.startswith(names)}
    done = subprocess.run(
        [sys.executable, "-B", "-c", ALONE],
        cwd=task,
        env={**environment, "TMPDIR": str(scratch), "HOME": str(task / "nowhere")},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert '"batches":[1]' in done.stdout.replace(" ", "")
    assert cloud.installation.ask("SELECT count(*) FROM totes.batches") == [(1,)]
    assert list(task.iterdir()) == list(scratch.iterdir()) == []
