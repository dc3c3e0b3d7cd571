"""The deployed Lambda functions, and the services that call them.

moto runs no function and no schedule. Functions run in sandboxes here; the schedules' ticks and the
events' deliveries are made by hand, with the targets and payloads that moto has stored.
"""

import base64
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lambda_runtime import Function, Response, Sandbox, runtime_folder
from moto_server import Credentials, Moto

SCHEDULE = "its schedule"

JSON_LOG = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
"""What Lambda sets for the log format of modules/stage, which moto does not store."""


@dataclass(frozen=True)
class Metric:
    """A metric as CloudWatch and its alarms identify it."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True)
class Call:
    """One call of a stage's function; `cause` is the schedule or the key of the event's object."""

    stage: str
    cause: str
    response: Response

    @property
    def result(self) -> Mapping[str, Any]:
        """What the function returned; empty if it failed."""
        return self.response.value or {}

    @property
    def batches(self) -> list[int]:
        """The batches that the stage processed in this call."""
        return list(self.result.get("batches", ()))

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """The metrics that CloudWatch would read from the log (embedded metric format)."""
        return tuple(metric for line in self.response.log for metric in _parse_metrics(line))

    def metric(self, name: str) -> Metric:
        """Return the metric of this name; ValueError unless there is exactly one."""
        [found] = [metric for metric in self.metrics if metric.name == name]
        return found

    def __str__(self) -> str:
        if self.response.error is not None:
            return f"FAILS, called by {self.cause}: {self.response.error['errorMessage']}"
        batches = ", ".join(map(str, self.batches))
        done = f"batch {batches}, {self.result['rows']:,} rows" if batches else "nothing to do"
        return f"{done} ({self.response.seconds:.1f} s; called by {self.cause})"


def _parse_metrics(line: str) -> Iterator[Metric]:
    if '"_aws"' not in line:
        return
    record = json.loads(line)
    for directive in record["_aws"]["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            dimensions = tuple(sorted((name, str(record[name])) for name in names))
            for metric in directive["Metrics"]:
                value = record[metric["Name"]]
                number = sum(value) if isinstance(value, list) else value
                yield Metric(directive["Namespace"], metric["Name"], dimensions, float(number))


@dataclass(frozen=True)
class Event:
    """An S3 event that EventBridge delivers for the rule of `stage`."""

    stage: str
    detail: Mapping[str, Any]

    @property
    def cause(self) -> str:
        """The key of the object that was created."""
        return str(self.detail["detail"]["object"]["key"])


class Functions:
    """The functions of the three stages and what calls them; a context manager.

    `observe` is called after each call.
    """

    def __init__(
        self,
        moto: Moto,
        outputs: Mapping[str, Any],
        folder: Path,
        observe: Callable[[Call], None] = lambda _: None,
    ) -> None:
        """`outputs` are Terraform's; `folder` takes the unpacked bundle, logs and scratch files."""
        self.outputs = outputs
        self._moto = moto
        self._folder = folder
        self._observe = observe
        self._stack = ExitStack()
        self._lambda = moto.client("lambda")
        self._queues = moto.client("sqs")
        self._sandboxes = 0
        self._bundle = folder / "bundle.zip"
        self._task = folder / "task"
        self.by_stage: dict[str, Function] = {}
        self.roles: dict[str, Credentials] = {}
        """The temporary credentials of each function's role."""
        self.warm: dict[str, Sandbox] = {}

    def __enter__(self) -> Self:
        self._runtime = runtime_folder(self._folder / "runtime")
        for stage, name in self.outputs["functions"].items():
            self.by_stage[stage], self.roles[stage] = self._deployed(name)
            self.warm[stage] = self._stack.enter_context(self.new_sandbox(stage))
        self._schedules = self._schedule_targets()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def new_sandbox(self, stage: str) -> Sandbox:
        """Return another process of a function, as Lambda starts for a concurrent call."""
        return self._sandbox(self.by_stage[stage])

    def sandbox_of(self, name: str, settings: Mapping[str, str]) -> Sandbox:
        """Return a process of a function that is no stage, with some settings changed."""
        function, _ = self._deployed(name)
        return self._sandbox(replace(function, environment={**function.environment, **settings}))

    def files_not_in_bundle(self) -> list[str]:
        """Return files that functions wrote beside their code, which Lambda would forbid."""
        with zipfile.ZipFile(self._bundle) as archive:
            packed = set(archive.namelist())
        found = (path for path in self._task.rglob("*") if path.is_file())
        return [name for path in found if (name := str(path.relative_to(self._task))) not in packed]

    # -- What AWS does

    def tick(self, stage: str) -> Call:
        """Call the stage as its schedule does."""
        target = self._schedules[stage]
        return self.call(self._stage_of(target["Arn"]), SCHEDULE, json.loads(target["Input"]))

    def receive_events(self) -> list[Event]:
        """Remove the waiting events from their queues and return them."""
        return [event for stage in self.outputs["rules"] for event in self._receive(stage)]

    def deliver_events(self) -> list[Call]:
        """Deliver the waiting events, and those that the calls cause, until there are none."""
        calls: list[Call] = []
        while events := self.receive_events():
            calls += [call for event in events for call in self.deliver(event)]
        return calls

    def deliver(self, event: Event) -> list[Call]:
        """Deliver an event to the functions that are targets of its rule."""
        functions = [arn for arn in self._targets(event.stage) if arn.split(":")[2] == "lambda"]
        return [self.call(self._stage_of(arn), event.cause, event.detail) for arn in functions]

    def run_stages(self) -> list[Call]:
        """Call ingest as its schedule does, then deliver all events."""
        return [self.tick("ingest"), *self.deliver_events()]

    def call(self, stage: str, cause: str, event: Any) -> Call:
        """Call the warm function of a stage."""
        call = Call(stage, cause, self.warm[stage].invoke(event))
        self._observe(call)
        return call

    def _receive(self, stage: str) -> Iterator[Event]:
        [queue] = [arn for arn in self._targets(stage) if arn.split(":")[2] == "sqs"]
        url = self._queues.get_queue_url(QueueName=queue.split(":")[-1])["QueueUrl"]
        while messages := self._queues.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get(
            "Messages"
        ):
            for message in messages:
                self._queues.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
                yield Event(stage, json.loads(message["Body"]))

    def _targets(self, stage: str) -> list[str]:
        events = self._moto.client("events")
        targets = events.list_targets_by_rule(Rule=self.outputs["rules"][stage])["Targets"]
        return [target["Arn"] for target in targets]

    def _schedule_targets(self) -> dict[str, dict[str, str]]:
        """Return the target of each stage's enabled schedule."""
        scheduler = self._moto.client("scheduler")
        schedules = scheduler.list_schedules()["Schedules"]
        groups = {schedule["Name"]: schedule["GroupName"] for schedule in schedules}
        targets = {}
        for stage, name in self.outputs["schedules"].items():
            schedule = scheduler.get_schedule(Name=name, GroupName=groups[name])
            if schedule["State"] == "ENABLED":
                targets[stage] = schedule["Target"]
        return targets

    def _stage_of(self, arn: str) -> str:
        [stage] = [stage for stage, function in self.by_stage.items() if function.arn == arn]
        return stage

    def _sandbox(self, function: Function) -> Sandbox:
        self._sandboxes += 1
        folder = self._folder / f"sandbox-{self._sandboxes}-{function.name}"
        return Sandbox(function, self._runtime, folder)

    def _deployed(self, name: str) -> tuple[Function, Credentials]:
        """Return a function, and the temporary credentials of its role."""
        configuration = self._lambda.get_function_configuration(FunctionName=name)
        if not self._task.exists():
            self._unpack(name, configuration["CodeSha256"])
        role = self._assume_role(configuration["Role"])
        function = Function(
            name,
            configuration["FunctionArn"],
            configuration["Handler"],
            self._task,
            {
                **JSON_LOG,
                **configuration["Environment"]["Variables"],
                **self._moto.environment(role),
            },
            configuration["Timeout"],
            configuration["MemorySize"],
        )
        return function, role

    def _unpack(self, function: str, digest: str) -> None:
        """Unpack the bundle from the artefact bucket; it must be the function's code."""
        store = self._moto.client("s3")
        location = self._lambda.get_function(FunctionName=function)["Code"]["Location"]
        key = location.split(".amazonaws.com/")[1]
        bucket = self.outputs["artefacts_bucket"]
        store.download_file(bucket, key, str(self._bundle))
        with self._bundle.open("rb") as file:
            found = base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()
        if found != digest:
            raise ValueError(f"{bucket}/{key} is not the code of function {function}")
        with zipfile.ZipFile(self._bundle) as archive:
            archive.extractall(self._task)

    def _assume_role(self, role: str) -> Credentials:
        sts = self._moto.client("sts")
        given = sts.assume_role(RoleArn=role, RoleSessionName="sandbox")["Credentials"]
        return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])
