"""A stage that fails: the metric of its alarm, and the recovery."""

import pytest
from aws_platform import PASSWORD, Platform

pytestmark = pytest.mark.usefixtures("first_calls")


def test_a_stage_that_fails_is_counted_by_lambda_and_recovers(platform: Platform) -> None:
    """The alarm on Lambda's count of errors sends the mail: tests/aws/plan/test_incidents.py."""
    functions = platform.functions
    order, units = 10, 77
    platform.administer_source("REVOKE SELECT ON sales_order FROM totes_ingest")
    platform.narrate("totesys", "revokes SELECT on sales_order")
    platform.change_order(order, units)
    failed = functions.tick("ingest")
    assert failed.response.error is not None
    assert failed.response.error["errorType"] == "SourceError"
    assert "sales_order" in failed.response.error["errorMessage"]
    assert failed.metric("SourceAway").value == 0
    [alarm] = [
        alarm
        for alarm in platform.alarms()
        if alarm["MetricName"] == "Errors"
        and alarm["Dimensions"][0]["Value"] == functions.by_stage["ingest"].name
    ]
    platform.narrate("cloudwatch", f"{alarm['AlarmName']} would fire: Errors is 1")

    platform.administer_source("GRANT SELECT ON sales_order TO totes_ingest")
    platform.narrate("totesys", "grants SELECT again")
    recovered = functions.tick("ingest")
    functions.deliver_events()
    assert recovered.response.error is None
    assert platform.loaded_units(order) == units
    failing_stages = [call.stage for call in platform.calls if call.response.error is not None]
    assert failing_stages == ["ingest"]


def test_no_alarm_on_a_metric_sends_mails(platform: Platform) -> None:
    alarms = platform.alarms()
    assert len(alarms) > 15
    assert not [one for one in alarms if one.get("AlarmActions") or one.get("OKActions")]


def test_functions_write_no_files_beside_their_code(platform: Platform) -> None:
    assert platform.functions.files_not_in_bundle() == []


def test_no_log_line_contains_a_password(platform: Platform) -> None:
    lines = [line for call in platform.calls for line in call.response.log]
    assert lines
    assert not [line for line in lines if PASSWORD in line]
