"""`make aws-demo`: the platform on AWS, without an account, and the proof that it works there.

The modules of terraform/, applied to moto by the real provider; the functions' real zip, run by
AWS's own runtime; totesys and warehouse on embedded PostgreSQL. Each scene is a function that says
what happens, holds it against what must happen, and returns what it saw; tests/aws/test_aws_demo.py
plays the same scenes.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn

import psycopg
from botocore.exceptions import ClientError
from cloud import ROOT, Missing, Moto, Terraform, TerraformFailed
from deployed import Call, Deployed, Event, Metric, inventory
from psycopg import sql
from rich.console import Console
from rich.markup import escape

import bundle
from totes.demo.simulator import bulk
from totes.embedded.servers import (
    Source,
    Warehouse,
    prepare_source,
    prepare_warehouse,
    source_server,
    warehouse_server,
)

ORDERS = 1_000

VARIABLES = {
    "environment": "demo",
    "bounded": "false",  # by a policy that bootstrap/ would have made
    "alarm_email": "nobody@example.com",
    "source_access": "none",
    "warehouse_enabled": "false",  # the provider waits minutes for RDS; the plan's tests see to it
    "force_destroy": "true",
    "secret_recovery_days": "0",
}
"""As in a variable file of one's own."""

OVERRIDES = Path("demo")
"""In terraform/: laid over the scratch copy. What is in there has its reasons beside it."""


class Unmet(Exception):
    """Something that must be so is not."""


def expect(met: bool, what: str) -> None:  # noqa: FBT001  the one thing it is about
    if not met:
        raise Unmet(what)


Say = Callable[[str, str], None]
"""Takes who or what it is about, and what happened."""


@dataclass
class World:
    """Everything there is: an AWS, a business, a warehouse; after deploy(), the platform too."""

    folder: Path
    moto: Moto
    terraform: Terraform
    code: Path
    """The functions' zip."""
    source: Source
    warehouse: Warehouse
    say: Say
    before: frozenset[str]
    """What was in the account before."""
    arguments: tuple[str, ...] = ()
    outputs: dict[str, Any] = field(default_factory=dict)
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of both stores' buckets, as Terraform has made them."""
    platform: Deployed | None = None

    @property
    def deployed(self) -> Deployed:
        if self.platform is None:
            raise ValueError("nothing is deployed")
        return self.platform

    def sell(self, order: int, units: int) -> None:
        """Totesys changes an order, and leaves last_updated alone."""
        statement = "UPDATE sales_order SET units_sold = %s WHERE sales_order_id = %s"
        with psycopg.connect(self.source.owner.reveal()) as connection:
            connection.execute(statement, [units, order])
        self.say("totesys", f"sales order {order} is of {units:,} units from now on")

    def ask(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        """The warehouse's answer."""
        with psycopg.connect(self.warehouse.superuser.reveal()) as connection:
            return connection.execute(question.encode(), values).fetchall()

    def units(self, order: int) -> int:
        """What the warehouse takes for an order's present units."""
        question = (
            "SELECT units_sold FROM fact_sales_order WHERE sales_order_id = %s AND valid_to IS NULL"
        )
        [(units,)] = self.ask(question, order)
        return int(units)


@contextmanager
def world(folder: Path, say: Say, code: Future[Path]) -> Iterator[World]:
    """An AWS with nothing in it, a totesys of 1,000 sales orders, an empty warehouse.

    `folder` must have a short path, for sockets; `code` comes to the functions' zip.
    """
    with ExitStack() as stack:
        (folder / "sandboxes").mkdir(parents=True)
        moto = stack.enter_context(Moto(folder))
        copy = _copy(folder / "terraform")
        terraform = Terraform(copy, moto.environment())
        say("aws", f"moto, an AWS of this machine's own, answers at {moto.endpoint}")
        source = prepare_source(stack.enter_context(source_server(folder)).dsn)
        warehouse = prepare_warehouse(stack.enter_context(warehouse_server(folder)).dsn)
        bulk(source.owner, orders=ORDERS)
        say("totesys", f"a business with {ORDERS:,} sales orders; the warehouse is empty")
        terraform.init()
        zipped = code.result()
        say("bundle", f"{zipped.name}, {zipped.stat().st_size / 1e6:.0f} MB: what Lambda runs")
        made = World(folder, moto, terraform, zipped, source, warehouse, say, inventory(moto))
        try:
            yield made
        except TerraformFailed as error:
            error.add_note(f"moto's log ends with: {moto.log[-2_000:]}")
            raise
        finally:
            if made.platform is not None:
                made.platform.__exit__(None, None, None)


def _copy(target: Path) -> Path:
    """A scratch copy of terraform/ with the demonstration's overrides over it."""
    own = shutil.ignore_patterns(".terraform*", "*.tfstate*", "tests", str(OVERRIDES), "bootstrap")
    shutil.copytree(ROOT / "terraform", target, ignore=own)
    shutil.copytree(ROOT / "terraform" / OVERRIDES, target, dirs_exist_ok=True)
    return target


# -- Scenes


@dataclass(frozen=True)
class Deployment:
    """`changes` is what a second plan would do: addresses of resources."""

    resources: int
    changes: tuple[str, ...]


def deploy(world: World) -> Deployment:
    """Terraform makes everything, and finds nothing to do when asked again."""
    terraform = world.terraform
    variables = VARIABLES | {"bundle": str(world.code)}
    values = [f"-var={name}={value}" for name, value in variables.items()]
    world.arguments = ("-input=false", "-no-color", *values)
    world.say("terraform", f"applies {_modules(terraform.folder)} modules; this takes a minute")
    terraform("apply", "-auto-approve", *world.arguments)
    made = terraform.state()
    world.say("terraform", f"{len(made)} resources are there")
    changes = terraform.plan(*world.arguments)
    expect(not changes, f"a second plan would change {', '.join(changes)}")
    world.say("terraform", "a second plan finds nothing to change")
    world.outputs = terraform.outputs()
    return Deployment(len(made), changes)


def _modules(folder: Path) -> int:
    return sum(1 for path in (folder / "modules").iterdir() if path.is_dir())


@dataclass(frozen=True)
class Started:
    """What the functions were given: the names of their settings, and where their code is from."""

    settings: dict[str, frozenset[str]]
    handlers: dict[str, str]


def start(world: World) -> Started:
    """Put the logins where the runbook says; unpack the deployed zip for each function."""
    secrets = world.moto.client("secretsmanager")
    for which, dsn in (("source", world.source.reader), ("warehouse", world.warehouse.loader)):
        parts = dsn.parts
        login = {
            "host": parts["host"],
            "port": int(str(parts["port"])),
            "dbname": parts["dbname"],
            "username": parts["user"],
            "password": "choose-one",
            "sslmode": "verify-full",
            "sslrootcert": "data/rds-ca.pem",
        }
        secrets.put_secret_value(
            SecretId=world.outputs[f"{which}_secret"], SecretString=json.dumps(login)
        )
    world.say("operator", "puts both logins into Secrets Manager")
    for bucket in ("ingestion_bucket", "processed_bucket"):
        _set_aside(world, world.outputs[bucket])

    def told(call: Call) -> None:
        world.say(call.stage, _line(call))

    world.platform = Deployed(world.moto, world.outputs, world.folder / "sandboxes", told)
    functions = world.platform.__enter__().functions
    return Started(
        {stage: frozenset(function.environment) for stage, function in functions.items()},
        {stage: function.handler for stage, function in functions.items()},
    )


def _line(call: Call) -> str:
    """A call in a few words."""
    if call.answer.error is not None:
        return f"FAILS, called by {call.cause}: {call.answer.error['errorMessage']}"
    done = call.answer.value
    batches = ", ".join(map(str, done["batches"]))
    what = f"batch {batches}, {done['rows']:,} rows" if batches else "nothing to do"
    return f"{what} ({call.answer.seconds:.1f} s; called by {call.cause})"


@dataclass(frozen=True)
class Flow:
    """Calls, in order, and what the warehouse showed in the end."""

    calls: tuple[Call, ...]
    units: int = 0
    versions: int = 0

    @property
    def did(self) -> list[tuple[str, list[int]]]:
        """Which stage did which batches, in the calls' order."""
        return [
            (call.stage, call.answer.value["batches"])
            for call in self.calls
            if call.answer.value is not None
        ]


def first_load(world: World) -> Flow:
    """One tick of ingest's schedule, and all else follows from events."""
    calls = [world.deployed.tick("ingest"), *world.deployed.deliver()]
    flow = Flow(tuple(calls))
    expect(
        flow.did == [("ingest", [1]), ("transform", [1]), ("load", [1])],
        f"one batch passes through three stages, one call each; it was {flow.did}",
    )
    [(facts,)] = world.ask("SELECT count(*) FROM fact_sales_order WHERE valid_to IS NULL")
    expect(facts == ORDERS, f"the warehouse has {facts} sales orders of {ORDERS}")
    world.say("warehouse", f"{facts:,} sales orders are there")
    written = {(*_name(metric), metric.dimensions) for call in calls for metric in call.metrics}
    watched = {alarm for alarm in _alarms(world) if alarm[0] == NAMESPACE and alarm[2]}
    expect(bool(watched), "alarms look at the stages' own metrics")
    expect(watched <= written, f"no stage writes what alarms look at: {watched - written}")
    starts = [start for sandbox in world.deployed.warm.values() for start in sandbox.starts]
    longest = max(starts)
    world.say("lambda", f"cold starts took up to {longest:.1f} s here; each stage stays warm")
    return flow


NAMESPACE = "totes"


def _name(metric: Metric) -> tuple[str, str]:
    return metric.namespace, metric.name


def _alarms(world: World) -> set[tuple[str, str, tuple[tuple[str, str], ...]]]:
    """Namespace, name and dimensions of each metric that an alarm looks at."""
    alarms = world.moto.client("cloudwatch").describe_alarms()["MetricAlarms"]
    return {(alarm["Namespace"], alarm["MetricName"], _dimensions(alarm)) for alarm in alarms}


def change(world: World) -> Flow:
    """A change in totesys that left last_updated alone arrives, with what was there before."""
    order, units = 7, 4711
    world.sell(order, units)
    calls = [world.deployed.tick("ingest"), *world.deployed.deliver()]
    versions = world.ask("SELECT FROM fact_sales_order WHERE sales_order_id = %s", order)
    flow = Flow(tuple(calls), world.units(order), len(versions))
    expect(flow.units == units, f"the warehouse says {flow.units} units for order {order}")
    expect(len(versions) == 1 + 1, f"order {order} has {len(versions)} versions, not two")
    world.say("warehouse", f"order {order}: {units:,} units, and its former version is kept")
    return flow


def lost(world: World) -> Flow:
    """Events that never arrive cost time and nothing else: every stage has a schedule."""
    order, units = 8, 815
    world.sell(order, units)
    calls = [world.deployed.tick("ingest")]
    gone = world.deployed.heard()
    expect(bool(gone), "EventBridge delivers an event for the new batch")
    world.say("event", f"{gone[0].cause} is lost on its way to {gone[0].stage}")
    calls.append(world.deployed.tick("transform"))
    gone = world.deployed.heard()
    expect(bool(gone), "EventBridge delivers an event for the processed batch")
    world.say("event", f"{gone[0].cause} is lost on its way to {gone[0].stage}")
    expect(world.units(order) != units, "nobody has called load, and yet the change is there")
    calls.append(world.deployed.tick("load"))
    flow = Flow(tuple(calls), world.units(order))
    expect(flow.units == units, f"the warehouse says {flow.units} units for order {order}")
    world.say("warehouse", f"order {order} is right: schedules did what the events would have")
    return flow


@dataclass(frozen=True)
class Repeated:
    """What calls did that had nothing to do: `same` is whether lake and warehouse stayed equal."""

    calls: tuple[Call, ...]
    rows: int
    same: bool


def doubled(world: World) -> Repeated:
    """Events again, twice, late, and two calls at once: nothing changes."""
    deployed = world.deployed
    order, units = 9, 1234
    world.sell(order, units)
    calls = [deployed.tick("ingest")]
    events = deployed.heard()
    calls += [call for event in events for call in deployed.pass_on(event)]
    late = deployed.heard()
    # Two processes of load at once, with the same event.
    with deployed.sandbox("load") as other, ThreadPoolExecutor() as pool:
        detail = late[0].detail
        sandboxes = (deployed.warm["load"], other)
        answers = list(pool.map(lambda sandbox: sandbox.invoke(detail), sandboxes))
    both = [Call("load", f"{late[0].cause}, doubled", answer) for answer in answers]
    for call in both:
        world.say("load", _line(call))
    expect(
        sorted(map(_batches, both)) == [[], _batches(calls[0])],
        "of two calls at once one loads the batch, the other finds it done",
    )
    expect(world.units(order) == units, f"order {order} has arrived")
    before = _everything(world)
    again: Sequence[Event] = [*events, *late] * 2
    repeated = [call for event in again for call in deployed.pass_on(event)]
    repeated += deployed.deliver()
    same = _everything(world) == before
    rows = sum(call.answer.value["rows"] for call in repeated if call.answer.value)
    expect(all(call.answer.error is None for call in repeated), "a doubled event is no error")
    expect(rows == 0 and same, "doubled events change neither lake nor warehouse")
    world.say("warehouse", f"{len(repeated)} doubled events later: not a row, not an object more")
    return Repeated((*calls, *both, *repeated), rows, same)


def _batches(call: Call) -> list[int]:
    return list(call.answer.value["batches"]) if call.answer.value else [-1]


def _everything(world: World) -> dict[str, object]:
    """Each object of both stores, and a digest of each of the warehouse's tables."""
    seen: dict[str, object] = {}
    for which in ("ingestion_bucket", "processed_bucket"):
        seen |= _objects(world.moto, world.outputs[which])
    tables = (
        "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relnamespace = ANY (%s)"
    )
    schemas = "SELECT array_agg(oid) FROM pg_namespace WHERE nspname IN ('public', 'totes')"
    [(spaces,)] = world.ask(schemas)
    for (table,) in world.ask(tables, spaces):
        if table == "totes.checks":
            continue  # says when it was looked, which is what a doubled event makes happen
        digest = sql.SQL("SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t")
        name = sql.SQL(".").join(map(sql.Identifier, table.split(".")))
        with psycopg.connect(world.warehouse.superuser.reveal()) as connection:
            seen[table] = connection.execute(digest.format(name)).fetchone()
    return seen


def _objects(moto: Moto, bucket: str) -> dict[str, object]:
    """Every version of every object of a bucket, and delete markers; by key."""
    pages = moto.client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket)
    found: dict[str, object] = {}
    for page in pages:
        for kind in ("Versions", "DeleteMarkers"):
            for one in page.get(kind, []):
                found[f"{bucket}/{one['Key']} {one['VersionId']} {kind}"] = one.get("ETag")
    return found


@dataclass(frozen=True)
class Failure:
    """A call that failed, what the topic was sent, and the alarm that its metric is for."""

    call: Call
    messages: tuple[dict[str, Any], ...]
    alarm: dict[str, Any]
    recovered: Call


def failing(world: World) -> Failure:
    """A stage that fails tells the topic, and writes the very metric that an alarm waits for."""
    order, units = 10, 77
    with _subscribed(world) as messages:
        with psycopg.connect(world.source.superuser.reveal()) as connection:
            connection.execute("REVOKE SELECT ON sales_order FROM totes_ingest")
        world.say("totesys", "takes back the right to read sales_order")
        world.sell(order, units)
        call = world.deployed.tick("ingest")
        again = world.deployed.tick("ingest")
        told = tuple(messages())
    expect(call.answer.error is not None, "ingest can't read sales_order and must fail")
    expect(again.answer.error is not None, "and again")
    expect(len(told) == 1, f"the topic is told once of one thing that is wrong, not {len(told)} x")
    world.say("sns", f"one message: {told[0]['message']}")
    failures = call.metric("Failures")
    alarms = world.moto.client("cloudwatch").describe_alarms()["MetricAlarms"]
    waiting = [
        alarm
        for alarm in alarms
        if (alarm["Namespace"], alarm["MetricName"]) == (failures.namespace, failures.name)
        and _dimensions(alarm) == failures.dimensions
    ]
    expect(len(waiting) == 1, f"one alarm waits for {failures}, not {len(waiting)}")
    [alarm] = waiting
    expect(
        alarm["ComparisonOperator"] == "GreaterThanThreshold"
        and failures.value > alarm["Threshold"],
        f"{alarm['AlarmName']} goes off at {failures.value}",
    )
    expect(
        alarm["AlarmActions"] == [world.outputs["alert_topic"]],
        f"{alarm['AlarmName']} tells the topic",
    )
    world.say("cloudwatch", f"{alarm['AlarmName']} would go off: Failures is {failures.value:.0f}")
    with psycopg.connect(world.source.superuser.reveal()) as connection:
        connection.execute("GRANT SELECT ON sales_order TO totes_ingest")
    world.say("totesys", "gives it again")
    recovered = world.deployed.tick("ingest")
    world.deployed.deliver()
    expect(recovered.answer.error is None, "ingest works again")
    expect(recovered.metric("Failures").value == 0, "and says so")
    expect(world.units(order) == units, "what happened meanwhile arrives")
    return Failure(call, told, alarm, recovered)


def _dimensions(alarm: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((one["Name"], one["Value"]) for one in alarm["Dimensions"]))


@contextmanager
def _subscribed(world: World) -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """Reads what the topic is sent, through a queue beside the e-mail."""
    queues, topics = world.moto.client("sqs"), world.moto.client("sns")
    url = queues.create_queue(QueueName="someone-who-listens")["QueueUrl"]
    attributes = queues.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])
    subscription = topics.subscribe(
        TopicArn=world.outputs["alert_topic"],
        Protocol="sqs",
        Endpoint=attributes["Attributes"]["QueueArn"],
        ReturnSubscriptionArn=True,
    )["SubscriptionArn"]

    def messages() -> list[dict[str, Any]]:
        got = queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(json.loads(message["Body"])["Message"]) for message in got]

    try:
        yield messages
    finally:
        topics.unsubscribe(SubscriptionArn=subscription)
        queues.delete_queue(QueueUrl=url)


@dataclass(frozen=True)
class Guarded:
    """What each attempt came to: `done`, or the code of the refusal.

    `careful` is the attempt to create, as the stages do, what is there; before all denials.
    """

    flow: Flow
    careful: str
    attempts: dict[str, str]
    same: bool


def guarded(world: World) -> Guarded:
    """With rights looked at: the stages can do their work, and nothing else to the lake."""
    deployed, moto, bucket = world.deployed, world.moto, world.outputs["ingestion_bucket"]
    for stage in deployed.roles:
        deployed.tick(stage)  # so that each has its login at hand, whose right moto can't judge
    order, units = 11, 100
    world.sell(order, units)
    world.say("iam", "from here on each role may only what its own policies say")
    with moto.rights():
        flow = Flow((deployed.tick("ingest"), *deployed.deliver()), world.units(order))
    expect(flow.units == units, "each stage does its work with its own role's rights")
    before = _objects(moto, bucket)
    manifest, new = "batches/000000000001.json", "batches/000000009999.json"
    [version] = [key.split(" ")[1] for key in before if key.startswith(f"{bucket}/{manifest} ")]
    at = {"Bucket": bucket, "Key": manifest}
    with moto.rights():
        ingest = moto.client("s3", deployed.roles["ingest"])
        careful = _attempt(ingest.put_object, **at, Body=b"{}", IfNoneMatch="*")
    world.say("iam", f"ingest creates a manifest again: {careful}")
    expect(careful == "PreconditionFailed", "what is there can't be created again")
    _judge(world, bucket)
    with moto.rights():
        ingest = moto.client("s3", deployed.roles["ingest"])
        transform = moto.client("s3", deployed.roles["transform"])
        secrets = moto.client("secretsmanager", deployed.roles["transform"])
        attempts = {
            "ingest reads a manifest": _attempt(ingest.get_object, **at),
            "ingest overwrites it": _attempt(ingest.put_object, **at, Body=b"{}"),
            "ingest deletes it": _attempt(ingest.delete_object, **at),
            "ingest deletes its version": _attempt(ingest.delete_object, **at, VersionId=version),
            "transform writes there": _attempt(
                transform.put_object, Bucket=bucket, Key=new, Body=b"{}", IfNoneMatch="*"
            ),
            "transform reads a login": _attempt(
                secrets.get_secret_value, SecretId=world.outputs["source_secret"]
            ),
        }
    for what, came in attempts.items():
        world.say("iam", f"{what}: {came}")
    same = _objects(moto, bucket) == before
    refused = {what for what, came in attempts.items() if came in REFUSALS}
    expect(attempts["ingest reads a manifest"] == "done", "ingest may read")
    expect(
        refused == attempts.keys() - {"ingest reads a manifest"},
        f"all else is refused, but was not: {attempts}",
    )
    expect(same, "the ingestion store is as it was")
    return Guarded(flow, careful, attempts, same=same)


REFUSALS = {"AccessDenied", "403"}


def _attempt(action: Callable[..., object], **arguments: Any) -> str:
    try:
        action(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "done"


def _judge(world: World, bucket: str) -> None:
    """Give a bucket back its denials that have conditions.

    moto overlooks the conditions: it denies every write then, careful or not. TlsOnly stays away,
    for moto has no TLS, and everything would be denied.
    """
    whole = world.policies[bucket]
    denials = [one for one in whole["Statement"] if one["Sid"] != "TlsOnly"]
    policy = json.dumps(whole | {"Statement": denials})
    world.moto.client("s3").put_bucket_policy(Bucket=bucket, Policy=policy)
    world.say("iam", f"and the bucket denies: {', '.join(one['Sid'] for one in denials)}")


def _set_aside(world: World, bucket: str) -> None:
    """Take a bucket's denials that have conditions away: moto overlooks the conditions."""
    store = world.moto.client("s3")
    whole = json.loads(store.get_bucket_policy(Bucket=bucket)["Policy"])
    world.policies[bucket] = whole
    kept = [one for one in whole["Statement"] if "Condition" not in one]
    store.put_bucket_policy(Bucket=bucket, Policy=json.dumps(whole | {"Statement": kept}))


@dataclass(frozen=True)
class Verified:
    """`totes verify`, run beside the functions on the same buckets."""

    equal: bool
    rows: int


def verified(world: World) -> Verified:
    """The proof, from another machine's point of view: source and warehouse, row by row."""
    settings = {
        "TOTES_SOURCE_DSN": world.source.reader.reveal(),
        "TOTES_WAREHOUSE_DSN": world.warehouse.loader.reveal(),
        "TOTES_INGESTION_URL": f"s3://{world.outputs['ingestion_bucket']}",
        "TOTES_PROCESSED_URL": f"s3://{world.outputs['processed_bucket']}",
    }
    environment = {**os.environ, **world.moto.environment(), **settings}
    done = subprocess.run(
        [sys.executable, "-m", "totes", "verify", "--json"],
        env=environment,
        cwd=world.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    strays = world.deployed.strays()
    expect(not strays, f"functions write nothing beside their code; there is {strays}")
    expect(done.returncode == 0, f"`totes verify` finds them equal: {done.stdout}{done.stderr}")
    verdict = json.loads(done.stdout)
    rows = sum(table["warehouse_rows"] for table in verdict["tables"])
    world.say("verify", f"the warehouse equals totesys: {rows:,} rows compared")
    return Verified(verdict["equal"], rows)


@dataclass(frozen=True)
class Destroyed:
    """What is left in the account, as `kind: name`; `there` is how much there was."""

    there: int
    left: frozenset[str]


def destroy(world: World) -> Destroyed:
    """Nothing is left of it."""
    there = inventory(world.moto) - world.before
    expect(there >= _named(world), "the inventory sees what was deployed")
    world.terraform("destroy", "-auto-approve", *world.arguments)
    left = inventory(world.moto) - world.before
    expect(not left, f"nothing is left; but there is {', '.join(sorted(left))}")
    world.say("terraform", f"all is destroyed: of {len(there)} things found at moto, none is left")
    return Destroyed(len(there), left)


def _named(world: World) -> set[str]:
    """Some of what was deployed, as the inventory should have it."""
    buckets = (world.outputs["ingestion_bucket"], world.outputs["processed_bucket"])
    return {
        *(f"s3 Buckets: {name}" for name in buckets),
        *(f"lambda Functions: {name}" for name in world.outputs["functions"].values()),
        *(f"sqs QueueUrls: {url}" for url in world.outputs["dead_letter_queues"].values()),
        *(f"iam Roles: {arn.split('/')[-1]}" for arn in world.outputs["roles"].values()),
        *(f"events Rules: {name}" for name in world.outputs["rules"].values()),
        *(f"scheduler Schedules: {name}" for name in world.outputs["schedules"].values()),
        f"sns Topics: {world.outputs['alert_topic']}",
    }


SCENES: tuple[Callable[[World], object], ...] = (
    start,
    first_load,
    change,
    lost,
    doubled,
    failing,
    verified,
    guarded,
    destroy,
)
"""After deploy(), in this order."""


# -- The command

COLOURS = {
    "ingest": "cyan",
    "transform": "cyan",
    "load": "cyan",
    "event": "yellow",
    "iam": "magenta",
    "sns": "red",
    "cloudwatch": "red",
    "verify": "green",
    "warehouse": "green",
}


def main() -> int:
    """0 where everything is as it must be; 1 where something isn't, 2 where something lacks."""
    console = Console(highlight=False)
    began = time.monotonic()

    def say(who: str, what: str) -> None:
        colour = COLOURS.get(who, "blue")
        seconds = time.monotonic() - began
        console.print(
            f"[dim]{seconds:6.1f} s[/]  [{colour}]{who:<10}[/]  {escape(what)}", soft_wrap=True
        )

    signal.signal(signal.SIGTERM, _interrupted)
    say("bundle", "the functions' zip is made, unless it is there")
    try:
        with (
            ThreadPoolExecutor() as aside,  # the zip takes as long as all else that comes first
            TemporaryDirectory(prefix="totes-") as folder,
            world(Path(folder) / "w", say, aside.submit(bundle.ready)) as all_,
        ):
            deploy(all_)
            for scene in SCENES:
                scene(all_)
    except Missing as missing:
        console.print(f"[bold]Can't be shown here.[/] {escape(str(missing))}")
        return 2
    except (Unmet, TerraformFailed) as error:
        said = "\n".join([str(error), *getattr(error, "__notes__", [])])
        console.print(f"[bold red]This is not as it must be:[/] {escape(said)}", soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; everything is put away.")
        return 130
    say("aws", "everything was as it must be, and nothing is left of it")
    return 0


def _interrupted(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
