"""What Terraform deploys, and what the functions are given."""

import pytest
from aws_platform import APPLY_PLAN, ORDERS, Platform
from lambda_functions import SCHEDULE, Call
from terraform_cli import TerraformFailed

from totes.aws.handlers import NAMESPACE


def test_all_resources_are_created(platform: Platform) -> None:
    assert len(platform.resources) > 100


def test_a_stored_plan_is_refused_after_any_other_change(platform: Platform) -> None:
    with pytest.raises(TerraformFailed, match="Saved plan is stale"):
        platform.terraform("apply", *APPLY_PLAN)
    platform.narrate("terraform", "refuses the approved plan a second time: it is stale")


def test_each_function_has_its_handler(platform: Platform) -> None:
    functions = platform.functions.by_stage
    assert {stage: function.handler for stage, function in functions.items()} == {
        stage: f"totes.aws.handlers.{stage}" for stage in ("ingest", "transform", "load")
    }


def test_each_function_has_only_the_settings_that_it_needs(platform: Platform) -> None:
    settings = ("TOTES_SOURCE_SECRET", "TOTES_WAREHOUSE_SECRET", "TOTES_ALERT_TOPIC")
    functions = platform.functions.by_stage
    assert {
        setting: {stage for stage in functions if setting in functions[stage].environment}
        for setting in settings
    } == {
        "TOTES_SOURCE_SECRET": {"ingest"},
        "TOTES_WAREHOUSE_SECRET": {"load"},
        "TOTES_ALERT_TOPIC": {"ingest", "transform", "load"},
    }


def test_one_tick_loads_all_rows_by_one_call_of_each_stage(
    platform: Platform, first_calls: list[Call]
) -> None:
    assert [(call.stage, call.batches, call.cause) for call in first_calls] == [
        ("ingest", [1], SCHEDULE),
        ("transform", [1], "batches/000000000001.json"),
        ("load", [1], "generation=1/batches/000000000001.json"),
    ]
    [(rows,)] = platform.query("SELECT count(*) FROM fact_sales_order WHERE valid_to IS NULL")
    assert rows == ORDERS
    platform.narrate("warehouse", f"has {rows:,} sales orders")
    starts = [start for sandbox in platform.functions.warm.values() for start in sandbox.starts]
    platform.narrate("lambda", f"cold starts took up to {max(starts):.1f} s; each stage stays warm")


def test_each_stage_reports_its_rows_and_load_the_lag(first_calls: list[Call]) -> None:
    rows = [call.metric("Rows") for call in first_calls]
    assert [metric.value for metric in rows] == [call.result["rows"] for call in first_calls]
    services = [dict(metric.dimensions)["service"] for metric in rows]
    assert services == [call.stage for call in first_calls]
    assert 0 <= first_calls[-1].metric("LagSeconds").value < 300


def test_every_metric_that_an_alarm_watches_is_written(
    platform: Platform, first_calls: list[Call]
) -> None:
    written = {
        (metric.namespace, metric.name, metric.dimensions)
        for call in first_calls
        for metric in call.metrics
    }
    watched = {
        (
            alarm["Namespace"],
            alarm["MetricName"],
            tuple(sorted((one["Name"], one["Value"]) for one in alarm["Dimensions"])),
        )
        for alarm in platform.alarms()
        if alarm["Namespace"] == NAMESPACE and alarm["Dimensions"]
    }
    assert watched
    assert {name for _, name, _ in watched - written} == {"VerifyDiffers"}  # after the first verify
