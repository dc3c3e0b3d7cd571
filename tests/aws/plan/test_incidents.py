"""Each incident sends one mail when it begins, and one when it ends.

The handlers run with a real totesys and a real warehouse. Their metrics, and those that AWS adds,
go through the planned alarms.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alarm_timeline import EVERY_MINUTES, HEALTHY, Call, Calls, Phase, Timeline
from cloudwatch_alarms import MetricAlarm, Metrics, mails, next_state
from in_process_handlers import Handlers
from installation import at
from rates_files import DAY
from s3_service import forget_clients
from terraform_plan import ENVIRONMENT, Planned

from totes.errors import ModelError
from totes.rates.ecb import missing_days
from totes.stages.runner import STAGES

PAGE = Path(__file__).parents[3] / "docs" / "operations.md"
MEMORY_MB = 1769
HOUR = 60

Alarms = list[tuple[str, Mapping[str, Any]]]
Mailing = Mapping[str, str]


# -- Incidents that the handlers meet


@contextmanager
def login(cloud: Handlers, place: str, **wrong: str) -> Iterator[None]:
    """A login in Secrets Manager that does not work."""
    name, dsn = os.environ[f"TOTES_{place.upper()}_SECRET"], getattr(cloud.installation, place)
    cloud.put_secret(name, dsn, **wrong)
    forget_clients()
    yield
    cloud.put_secret(name, dsn)
    forget_clients()


def administer(cloud: Handlers, statement: str) -> None:
    """Run a statement in the warehouse."""
    options = "-c default_transaction_read_only=off"
    with psycopg.connect(cloud.installation.warehouse.reveal(), options=options) as connection:
        connection.execute(statement.encode())


def change_an_order(cloud: Handlers) -> None:
    cloud.installation.change("UPDATE sales_order SET units_sold = units_sold + 1")


@contextmanager
def changed(run: Callable[[str], object], begin: str, end: str) -> Iterator[None]:
    run(begin)
    yield
    run(end)


@contextmanager
def failing_model(cloud: Handlers) -> Iterator[None]:
    change_an_order(cloud)

    def fail() -> None:
        raise ModelError("Model fact_payment can't run on batch 1.")

    with at("transform.before-manifest", fail):
        yield


@contextmanager
def read_only_warehouse(cloud: Handlers) -> Iterator[None]:
    database = cloud.installation.warehouse.parts["dbname"]
    setting = f"ALTER ROLE CURRENT_USER IN DATABASE {database} SET default_transaction_read_only = "
    change_an_order(cloud)
    with changed(lambda value: administer(cloud, setting + value), "on", "off"):
        yield


@contextmanager
def quarantined_row(cloud: Handlers) -> Iterator[None]:
    def deliver(on: str) -> None:
        statement = f"UPDATE sales_order SET agreed_delivery_date = '{on}' WHERE sales_order_id = 2"
        cloud.installation.change(statement)
        cloud.call_all()

    with changed(deliver, "soon", "2026-01-01"):
        yield


def verified(cloud: Handlers, begin: str, end: str) -> AbstractContextManager[None]:
    update = "UPDATE totes.verifications SET "
    return changed(lambda values: administer(cloud, update + values), begin, end)


@contextmanager
def old_rates(cloud: Handlers) -> Iterator[None]:
    """Those that the warehouse has at first, see `prepare`."""
    yield
    cloud.publish_rates(datetime.now(UTC).date())
    cloud.call_all()


OLD_RATES_DAYS = 8
"""More than any weekend with holidays has, so that ingest asks for newer ones."""


def prepare(cloud: Handlers) -> None:
    """Load the first batch, with old rates, and record a verify."""
    cloud.patch.setenv("ENVIRONMENT", ENVIRONMENT)
    cloud.patch.setattr("totes.error_policy.MAX_ATTEMPTS", 1)
    for name in ("APPLICATION", "ROLE"):  # nothing is large enough for a job
        cloud.patch.setenv(f"TOTES_SPARK_{name}", "any")
    cloud.patch.setenv("TOTES_SPARK_PROGRAM", "s3://artefacts/spark/any")
    cloud.publish_rates(datetime.now(UTC).date() - OLD_RATES_DAYS * DAY)
    cloud.installation.add_orders(3)
    cloud.call_all()
    administer(cloud, "INSERT INTO totes.verifications (batch, equal) VALUES (1, true)")


def observe(cloud: Handlers) -> Calls:
    """Call each stage once."""
    cloud.metrics()
    failed = dict.fromkeys(STAGES, False)
    for stage in STAGES:
        try:
            cloud.call(stage)
        except Exception:  # noqa: BLE001  Lambda counts each
            failed[stage] = True
    logged = {values.pop("service"): values for values in cloud.metrics()}
    for values in logged.values():
        assert values.pop("environment") == ENVIRONMENT
    return {stage: Call(logged[stage], is_failed=failed[stage]) for stage in STAGES}


# -- Incidents that AWS alone counts


def for_stage(stage: str, **changes: Any) -> Callable[[Calls], Calls]:
    return lambda calls: {**calls, stage: replace(calls[stage], **changes)}


def for_all(**changes: Any) -> Callable[[Calls], Calls]:
    return lambda calls: {stage: replace(call, **changes) for stage, call in calls.items()}


def slow(calls: Calls) -> Calls:
    call = calls["transform"]
    metrics = {**(call.metrics or {}), "DurationSeconds": 800.0}
    return {**calls, "transform": replace(call, metrics=metrics, minutes=13.5)}


def on_spark(failures: int, minutes: float) -> Callable[[Calls], Calls]:
    """Transform leaves a large batch to Spark: it reports that, and no data goes further."""

    def change(calls: Calls) -> Calls:
        call = calls["transform"]
        metrics = {**(call.metrics or {}), "SparkFailures": failures, "SparkMinutes": minutes}
        del metrics["LagSeconds"]
        return {**calls, "transform": replace(call, metrics=metrics)}

    return change


def as_before(calls: Calls) -> Calls:
    return calls


@dataclass(frozen=True)
class Incident:
    """An incident, as the runbook calls it, and the alarm that sends its mails."""

    name: str
    mail: str | None
    broken: Callable[[Handlers], AbstractContextManager[None]] | None = None
    """What the handlers meet; without it `calls` changes those of a healthy platform."""
    calls: Callable[[Calls], Calls] = as_before
    others: Mapping[str, Mapping[str, float] | None] = field(default_factory=lambda: HEALTHY)
    takes_days: bool = False
    is_paused: bool = False


def other(name: str, **values: float) -> Mapping[str, Mapping[str, float] | None]:
    """Return AWS's metrics, changed for one of these; without values it sends none."""
    changed_values = {**(HEALTHY[name]), **values} if values else None
    return {**HEALTHY, name: changed_values}


NOT_CALLED: Mapping[str, Any] = {"is_made": False}
KILLED: Mapping[str, Any] = {"metrics": None, "is_failed": True}

INCIDENTS = (
    Incident("The exchange rates are old", "rates", old_rates, takes_days=True),
    Incident(
        "totesys is down, or its network",
        "ingest",
        lambda cloud: login(cloud, "source", host="/nowhere"),
        others=other("totesys"),
    ),
    Incident(
        "totesys rejects the login",
        "ingest",
        lambda cloud: login(cloud, "source", user="nobody"),
        others=other("totesys", OldestReplicationSlotLag=5e9),
    ),
    Incident(
        "A right on totesys is missing",
        "ingest",
        lambda cloud: changed(
            cloud.installation.change,
            "REVOKE SELECT ON sales_order FROM totes_ingest",
            "GRANT SELECT ON sales_order TO totes_ingest",
        ),
    ),
    Incident("A model fails", "transform", failing_model),
    Incident(
        "The warehouse is down",
        "load",
        lambda cloud: login(cloud, "warehouse", host="/nowhere"),
        others=other("warehouse"),
    ),
    Incident(
        "The warehouse is full or read-only",
        "load",
        read_only_warehouse,
        others=other("warehouse", FreeStorageSpace=1e6),
    ),
    Incident("Rows are in quarantine", "quarantine", quarantined_row),
    Incident(
        "A verify finds a difference",
        "verify",
        lambda cloud: verified(cloud, "equal = false", "equal = true"),
    ),
    Incident(
        "The nightly verify does not run",
        "unverified",
        lambda cloud: verified(
            cloud, "verified_at = now() - interval '37 h'", "verified_at = clock_timestamp()"
        ),
    ),
    Incident(
        "Invocations are killed, for their time",
        "ingest",
        calls=for_stage("ingest", minutes=15, **KILLED),
    ),
    Incident(
        "Invocations are killed, for their memory",
        "transform",
        calls=for_stage("transform", memory=1.0, **KILLED),
    ),
    Incident(
        "Invocations nearly use up their memory", "load-limits", calls=for_stage("load", memory=0.9)
    ),
    Incident("Invocations nearly use up their time", "transform-limits", calls=slow),
    Incident(
        "Lambda throttles invocations", "throttled", calls=for_all(is_refused=True, **NOT_CALLED)
    ),
    Incident("Load is not called", "load", calls=for_stage("load", **NOT_CALLED)),
    Incident("Another stage is not called", "stale", calls=for_stage("ingest", **NOT_CALLED)),
    Incident("The flow is switched off", None, calls=for_all(**NOT_CALLED), is_paused=True),
    Incident(
        "The warehouse's disk is nearly full",
        "storage",
        others=other("warehouse", FreeStorageSpace=1e9),
    ),
    Incident("The warehouse is busy", "cpu", others=other("warehouse", CPUUtilization=95)),
    Incident("A Spark job fails", "spark", calls=on_spark(1, 20)),
    Incident("A Spark job runs for hours", "spark", calls=on_spark(0, 300)),
    Incident("A large batch is on Spark", None, calls=on_spark(0, 45)),
    Incident(
        "Publishing Iceberg tables fails", "publish", others=other("publishing", TriggeredRules=1)
    ),
    Incident("The dashboard is down", "dashboard", others=other("dashboard")),
    Incident(
        "totesys retains its log",
        "retained-log",
        others=other("totesys", OldestReplicationSlotLag=5e9),
    ),
)


def walk(
    alarms: Alarms, healthy: Calls, during: Calls, incident: Incident, *, zeros: bool
) -> list[tuple[str, str]]:
    """Return name and state of the mails of an incident between healthy hours."""
    before, lasts, after = (80, 96, 48) if incident.takes_days else (2, 5, 3)
    timeline = Timeline(ENVIRONMENT, MEMORY_MB, zeros=zeros)
    timeline.add(Phase(before * HOUR, healthy))
    timeline.add(Phase(lasts * HOUR, during, incident.others))
    timeline.add(Phase(after * HOUR, healthy))

    minutes = range(1, timeline.minute, 15 if incident.takes_days else 1)
    sent = mails(alarms, timeline.metrics, minutes, extra_periods=0 if zeros else 2)
    prefix = f"totes-{ENVIRONMENT}-"
    return [
        (mail.alarm.removeprefix(prefix), mail.state)
        for mail in sent
        if mail.minute > (before + lasts if incident.is_paused else before) * HOUR
    ]


@pytest.fixture(scope="session")
def alarms(planned: Planned) -> Alarms:
    """Types and attributes of the planned alarms."""
    return [
        (resource.type, resource.values)
        for resource in planned.resources
        if resource.type in {"aws_cloudwatch_metric_alarm", "aws_cloudwatch_composite_alarm"}
    ]


@pytest.fixture(scope="session")
def mailing(alarms: Alarms) -> Mailing:
    """The texts of all mails, by the name of the alarm."""
    prefix = f"totes-{ENVIRONMENT}-"
    return {
        values["alarm_name"].removeprefix(prefix): values["alarm_description"]
        for kind, values in alarms
        if kind == "aws_cloudwatch_composite_alarm"
    }


def test_each_incident_sends_one_mail_when_it_begins_and_one_when_it_ends(
    cloud: Handlers, alarms: Alarms
) -> None:
    prepare(cloud)
    during: dict[str, Calls] = {}
    for incident in INCIDENTS:
        if incident.broken:
            with incident.broken(cloud):
                during[incident.name] = observe(cloud)
    healthy = observe(cloud)
    assert all(call.is_done for call in healthy.values())
    expected, found = {}, {}
    for incident in INCIDENTS:
        calls = incident.calls(during.get(incident.name, healthy))
        for zeros in (True, False):
            case = incident.name, zeros
            found[case] = walk(alarms, healthy, calls, incident, zeros=zeros)
            expected[case] = [(incident.mail, state) for state in ("ALARM", "OK") if incident.mail]
            if incident.is_paused:  # no actions meanwhile: the alarm's end sends a mail
                expected[case] = [("load", "OK")]
    assert found == expected


def named(alarms: Alarms, name: str) -> MetricAlarm:
    """Return the metric alarm `totes-ENV-NAME`."""
    [values] = [
        found for _, found in alarms if found["alarm_name"] == f"totes-{ENVIRONMENT}-{name}"
    ]
    return MetricAlarm.planned(values)


@pytest.mark.parametrize(
    ("newest", "days", "fires"),
    [
        ("2026-11-20", 6, "2026-11-25T16"),  # five days after a Friday's
        ("2026-11-16", 4, "2026-11-19T16"),
        ("2026-04-02", 5, None),  # until the first fetch after Easter, two days later
        ("2026-04-02", 6, None),
    ],
)
def test_rates_are_missed_after_five_days_but_not_at_easter(
    alarms: Alarms, newest: str, days: int, fires: str | None
) -> None:
    published = datetime.fromisoformat(f"{newest}T15:00+00:00")
    alarm, metrics, state, fired = named(alarms, "flow-rates"), Metrics(), "OK", None
    for hour in range(24 * days + 4):
        now = published + timedelta(hours=hour)
        metrics.add(alarm.series, 60 * hour, missing_days(published.date(), now))
        state = alarm.evaluate(metrics.points(alarm.series), 60 * hour + 1, state, extra_periods=2)
        if state == "ALARM" and fired is None:
            fired = f"{now:%Y-%m-%dT%H}"
    assert fired == fires


def test_a_warehouse_without_new_data_is_reported_at_most_ten_minutes_after_the_deadline(
    alarms: Alarms,
) -> None:
    lag = named(alarms, "flow-lag")
    assert lag.threshold / 60 + lag.minutes * lag.periods + EVERY_MINUTES <= 30 + 10


def test_the_runbook_has_the_same_incidents_and_mails() -> None:
    table = PAGE.read_text().partition("## The alarms")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([^|]+?) \| (?:`([\w-]+)`|none) \|", table, re.MULTILINE)
    assert len(rows) == len(INCIDENTS)
    assert dict(rows) == {incident.name: incident.mail or "" for incident in INCIDENTS}


def test_every_alarm_that_sends_mails_has_an_incident(mailing: Mailing) -> None:
    stages = {f"{stage}{kind}" for stage in STAGES for kind in ("", "-limits")}
    with_incident = {incident.mail for incident in INCIDENTS if incident.mail}
    assert with_incident | stages == mailing.keys()


def test_metric_alarms_are_silent(alarms: Alarms) -> None:
    metric_alarms = [values for kind, values in alarms if kind == "aws_cloudwatch_metric_alarm"]
    assert len(metric_alarms) > 20
    for values in metric_alarms:
        assert values["alarm_actions"] is values["ok_actions"] is None
        assert values["insufficient_data_actions"] is None


def test_all_alarms_have_different_names_and_each_is_in_a_rule(alarms: Alarms) -> None:
    """CloudWatch has one namespace for both kinds."""
    names = [values["alarm_name"] for _, values in alarms]
    assert len(names) == len({*names})
    named = {
        name
        for _, values in alarms
        for name in re.findall(r'ALARM\("(.+?)"\)', values.get("alarm_rule", ""))
    }
    assert named == {
        values["alarm_name"] for kind, values in alarms if kind == "aws_cloudwatch_metric_alarm"
    }


def test_each_mail_says_what_to_do_first_and_where_the_runbook_explains_it(
    mailing: Mailing,
) -> None:
    for mail, text in mailing.items():
        assert re.search(r"[.] First \w", text), mail
        assert text.endswith(f"Runbook: docs/operations.md, The alarms, {mail}.")
        assert len(text) <= 1024
    for stage in STAGES:
        command = f"aws logs tail /aws/lambda/totes-{ENVIRONMENT}-{stage} --since 1h"
        assert command in mailing[stage]
        assert command in mailing[f"{stage}-limits"]


OK, X, N = False, True, None
"""Data points within the threshold, breaching it, and missing, as in CloudWatch's user guide."""

EVALUATIONS = (
    # data points, the newest last; points to alarm; if breaching, not breaching, or ignored
    ((OK, N, X, N, X), 3, "OK", "OK", "OK"),
    ((OK, N, N, N, N), 3, "OK", "OK", "OK"),
    ((N, N, N, N, N), 3, "ALARM", "OK", "before"),
    ((OK, X, X, N, X), 3, "ALARM", "ALARM", "ALARM"),
    ((N, N, X, N, N), 3, "ALARM", "OK", "before"),
    ((OK, N, X, N, X), 2, "ALARM", "ALARM", "ALARM"),
    ((OK, OK, X, OK, X), 2, "ALARM", "ALARM", "ALARM"),
    ((OK, N, X, N, N), 2, "ALARM", "OK", "OK"),
    ((N, N, N, N, OK), 2, "ALARM", "OK", "OK"),
    ((N, N, N, X, N), 2, "ALARM", "OK", "before"),
)
"""The tables of "How alarm state is evaluated when data is missing"."""


@pytest.mark.parametrize(
    ("points", "to_alarm", "breaching", "not_breaching", "ignore"), EVALUATIONS
)
def test_the_evaluator_agrees_with_the_tables_of_the_guide(
    points: tuple[bool | None, ...], to_alarm: int, breaching: str, not_breaching: str, ignore: str
) -> None:
    found = {
        missing: next_state(points[::-1], 3, to_alarm, missing, "before")
        for missing in ("breaching", "notBreaching", "ignore")
    }
    assert found == {"breaching": breaching, "notBreaching": not_breaching, "ignore": ignore}
