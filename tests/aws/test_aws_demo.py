"""The scenes of `make aws-demo`: deployed to moto by Terraform, run from the zip, and destroyed.

What moto can't show (alarms going off, e-mail, schedules firing, RDS) is asserted on the plan by
Terraform's own tests, and listed as untested in docs/operations.md.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import demo
import pytest
from cloud import Missing, plugins, provider_version, terraform_program

import bundle

PASSWORD = "choose-one"


@pytest.fixture(scope="module", autouse=True)
def _can_be_shown() -> None:
    if sys.version_info[:2] != bundle.PYTHON:
        pytest.skip("python3.12: not the one that runs this")
    try:
        terraform_program()
        plugins(provider_version())
    except Missing as missing:
        pytest.skip(str(missing))


@pytest.mark.timeout(900)
def test_deployed_to_aws_a_change_arrives_once_whatever_fails_and_nothing_is_left(
    scratch: Path,
) -> None:
    said: list[str] = []
    with (
        ThreadPoolExecutor() as aside,
        demo.world(
            scratch / "aws",
            lambda who, what: said.append(f"{who}: {what}"),
            aside.submit(bundle.ready),
        ) as world,
    ):
        deployment = demo.deploy(world)
        assert deployment.resources > 100
        assert deployment.changes == ()

        started = demo.start(world)
        assert started.handlers == {
            stage: f"totes.aws.handlers.{stage}" for stage in ("ingest", "transform", "load")
        }
        knows = {
            setting: {stage for stage, known in started.settings.items() if setting in known}
            for setting in ("TOTES_SOURCE_SECRET", "TOTES_WAREHOUSE_SECRET", "TOTES_ALERT_TOPIC")
        }
        assert knows == {
            "TOTES_SOURCE_SECRET": {"ingest"},
            "TOTES_WAREHOUSE_SECRET": {"load"},
            "TOTES_ALERT_TOPIC": {"ingest", "transform", "load"},
        }

        first = demo.first_load(world)
        assert first.did == [("ingest", [1]), ("transform", [1]), ("load", [1])]
        assert [call.cause for call in first.calls] == [
            "its schedule",
            "batches/000000000001.json",
            "generation=1/batches/000000000001.json",
        ]
        rows = [call.metric("Rows") for call in first.calls]
        assert [metric.value for metric in rows] == [
            call.answer.value["rows"] for call in first.calls
        ]
        assert [dict(metric.dimensions)["service"] for metric in rows] == [
            call.stage for call in first.calls
        ]
        assert 0 <= first.calls[-1].metric("LagSeconds").value < 300

        changed = demo.change(world)
        assert (changed.units, changed.versions) == (4711, 2)
        assert [len(call.answer.value["batches"]) for call in changed.calls] == [1, 1, 1]

        lost = demo.lost(world)
        assert [call.cause for call in lost.calls] == ["its schedule"] * 3
        assert lost.did == [("ingest", [3]), ("transform", [3]), ("load", [3])]
        assert lost.units == 815

        doubled = demo.doubled(world)
        assert (doubled.rows, doubled.same) == (0, True)
        done = [batch for call in doubled.calls for batch in call.answer.value["batches"]]
        assert done == [4, 4, 4]  # once by each stage

        failure = demo.failing(world)
        assert failure.call.answer.error is not None
        assert failure.call.answer.error["errorType"] == "SourceError"
        [message] = failure.messages
        assert message["stage"] == "ingest"
        assert "sales_order" in message["message"]
        assert failure.alarm["MetricName"] == "Failures"
        counted = [call.metric("Failures").value for call in (failure.call, failure.recovered)]
        assert counted == [1, 0]

        verified = demo.verified(world)
        assert (verified.equal, verified.rows > 2 * demo.ORDERS) == (True, True)

        guarded = demo.guarded(world)
        assert (guarded.flow.units, guarded.same) == (100, True)
        assert {what for what, came in guarded.attempts.items() if came == "done"} == {
            "ingest reads a manifest"
        }
        assert guarded.careful == "PreconditionFailed"

        calls = [*first.calls, *changed.calls, *doubled.calls, failure.call, *guarded.flow.calls]
        assert not [line for call in calls for line in call.answer.log if PASSWORD in line]

        destroyed = demo.destroy(world)
        assert destroyed.there > 50
        assert destroyed.left == frozenset()
    assert [line.split(":")[0] for line in said if "FAILS" in line] == ["ingest", "ingest"]
