"""The platform on AWS between a real totesys and a real warehouse, with AWS simulated by moto.

The handlers run in this process.
"""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import pytest
from installation import Installation
from rates_files import NEW_YEAR, csv
from s3_service import S3Service, forget_clients

from totes.aws import handlers
from totes.config.dsn import Dsn
from totes.stages.runner import STAGES

PASSWORD = "open-sesame-of-the-vault"
SHORT_MS = 30_000
LONG_MS = 900_000
ENVIRONMENT = "test"

FUNCTIONS: dict[str, Callable[[object, handlers.Context], dict[str, Any]]] = {
    "ingest": handlers.ingest,
    "transform": handlers.transform,
    "load": handlers.load,
}


@dataclass(frozen=True)
class Context:
    """A context with a constant remaining time."""

    left_ms: int = LONG_MS
    aws_request_id: str = "request-1"

    def get_remaining_time_in_millis(self) -> int:
        return self.left_ms


@dataclass
class Handlers:
    """The platform on AWS: its functions, logs, metrics and alerts."""

    installation: Installation
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    logs: io.StringIO
    queue_url: str
    printed: list[str] = field(default_factory=list)

    def call(self, stage: str, left_ms: int = LONG_MS) -> dict[str, Any]:
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

    def alerts(self) -> list[dict[str, Any]]:
        """Return the new messages of the alert topic."""
        sqs = boto3.client("sqs")
        got = sqs.receive_message(QueueUrl=self.queue_url, MaxNumberOfMessages=10)
        for message in got.get("Messages", []):
            sqs.delete_message(QueueUrl=self.queue_url, ReceiptHandle=message["ReceiptHandle"])
        return [json.loads(one["Body"]) for one in got.get("Messages", [])]

    def publish_rates(self, newest: date) -> None:
        """Let ingest find exchange rates up to this day; the package has none."""
        path = Path(f"rates-until-{newest}.csv").absolute()
        path.write_bytes(csv({**NEW_YEAR, newest: {"USD": "1.1"}}))
        self.patch.setattr("totes.rates._read_bundled", lambda *_: {})
        self.patch.setenv("TOTES_RATES_URL", path.as_uri())
        self.patch.setenv("TOTES_RATES", "on")

    def put_secret(self, name: str, dsn: Dsn, **others: str) -> None:
        parts = {key: str(value) for key, value in dsn.parts.items()}
        text = json.dumps({**parts, "password": PASSWORD, **others})
        boto3.client("secretsmanager").put_secret_value(SecretId=name, SecretString=text)


@contextmanager
def opened_handlers(
    installation: Installation, service: S3Service, fixture: Callable[[str], Any]
) -> Iterator[Handlers]:
    """Buckets, secrets, a topic with a subscription, and handlers in their initial state.

    `fixture` returns one of pytest's.
    """
    monkeypatch: pytest.MonkeyPatch = fixture("monkeypatch")
    service.environment(monkeypatch)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("ENVIRONMENT", ENVIRONMENT)
    monkeypatch.chdir(fixture("tmp_path"))
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
    cloud = Handlers(installation, monkeypatch, fixture("capsys"), logs, queue_url)
    for place, dsn in (("source", installation.source), ("warehouse", installation.warehouse)):
        boto3.client("secretsmanager").create_secret(Name=f"{bucket}-{place}")
        cloud.put_secret(f"{bucket}-{place}", dsn)
    package = logging.getLogger("totes")
    before = (package.handlers, package.propagate, package.level)
    monkeypatch.setattr(handlers.logger.handlers[0], "stream", logs)
    forget_clients()
    yield cloud
    forget_clients()
    package.handlers, package.propagate = before[0], before[1]
    package.setLevel(before[2])
