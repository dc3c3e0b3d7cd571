"""A stage that fails: the alert, the alarm's metric, and the recovery."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aws_platform import PASSWORD, Platform

pytestmark = pytest.mark.usefixtures("first_calls")


@contextmanager
def subscribed(platform: Platform) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Subscribe a queue to the alert topic; yields a function that returns its messages."""
    queues, topics = platform.moto.client("sqs"), platform.moto.client("sns")
    url = queues.create_queue(QueueName="alert-reader")["QueueUrl"]
    attributes = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    subscription = topics.subscribe(
        TopicArn=platform.outputs["alert_topic"],
        Protocol="sqs",
        Endpoint=attributes["Attributes"]["QueueArn"],
        ReturnSubscriptionArn=True,
    )["SubscriptionArn"]

    def messages() -> list[dict[str, Any]]:
        response = queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10)
        bodies = [json.loads(message["Body"]) for message in response.get("Messages", [])]
        return [json.loads(body["Message"]) for body in bodies]

    try:
        yield messages
    finally:
        topics.unsubscribe(SubscriptionArn=subscription)
        queues.delete_queue(QueueUrl=url)


def test_a_stage_that_fails_alerts_once_raises_its_alarm_and_recovers(platform: Platform) -> None:
    functions = platform.functions
    order, units = 10, 77
    with subscribed(platform) as messages:
        platform.administer_source("REVOKE SELECT ON sales_order FROM totes_ingest")
        platform.narrate("totesys", "revokes SELECT on sales_order")
        platform.change_order(order, units)
        failed = [functions.tick("ingest"), functions.tick("ingest")]
        alerts = messages()
    errors = [call.response.error for call in failed]
    assert [error and error["errorType"] for error in errors] == ["SourceError"] * 2
    assert [alert["stage"] for alert in alerts] == ["ingest"]  # one for two failures
    assert "sales_order" in alerts[0]["message"]
    platform.narrate("sns", f"one message: {alerts[0]['message']}")

    failures = failed[0].metric("Failures")
    assert failures.value == 1
    [alarm] = [
        alarm
        for alarm in platform.alarms()
        if (alarm["Namespace"], alarm["MetricName"]) == (failures.namespace, failures.name)
        and {one["Name"]: one["Value"] for one in alarm["Dimensions"]} == dict(failures.dimensions)
    ]
    assert alarm["ComparisonOperator"] == "GreaterThanThreshold"
    assert failures.value > alarm["Threshold"]
    assert alarm["AlarmActions"] == [platform.outputs["alert_topic"]]
    platform.narrate("cloudwatch", f"{alarm['AlarmName']} would fire: Failures is 1")

    platform.administer_source("GRANT SELECT ON sales_order TO totes_ingest")
    platform.narrate("totesys", "grants SELECT again")
    recovered = functions.tick("ingest")
    functions.deliver_events()
    assert recovered.response.error is None
    assert recovered.metric("Failures").value == 0
    assert platform.loaded_units(order) == units
    failing_stages = [call.stage for call in platform.calls if call.response.error is not None]
    assert failing_stages == ["ingest", "ingest"]


def test_functions_write_no_files_beside_their_code(platform: Platform) -> None:
    assert platform.functions.files_not_in_bundle() == []


def test_no_log_line_contains_a_password(platform: Platform) -> None:
    lines = [line for call in platform.calls for line in call.response.log]
    assert lines
    assert not [line for line in lines if PASSWORD in line]
