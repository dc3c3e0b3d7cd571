"""The platform as Terraform has deployed it to moto, and what AWS would do with it, done here.

Functions run in sandboxes; a clock that would tick and an event that would be delivered are given
to them by hand, but to whom and with what is looked up at moto.
"""

import base64
import hashlib
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cloud import Credentials, Moto
from runtime_api import Answer, Function, Sandbox, runtime_folder

JSON_LOG = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
"""What Lambda adds for the log format that modules/stage asks for, which moto forgets."""


@dataclass(frozen=True)
class Call:
    """A function was called for `cause`, and answered."""

    stage: str
    cause: str
    answer: Answer

    @cached_property
    def metrics(self) -> tuple["Metric", ...]:
        """What CloudWatch would have read from its log: metrics in embedded format."""
        return tuple(metric for line in self.answer.log for metric in _metrics(line))

    def metric(self, name: str) -> "Metric":
        """The one of this name; ValueError where it is not one."""
        [found] = [metric for metric in self.metrics if metric.name == name]
        return found


@dataclass(frozen=True)
class Metric:
    """A metric as CloudWatch and its alarms know it."""

    namespace: str
    name: str
    dimensions: tuple[tuple[str, str], ...]
    value: float


def _metrics(line: str) -> Iterator[Metric]:
    if '"_aws"' not in line:
        return
    said = json.loads(line)
    for directive in said["_aws"]["CloudWatchMetrics"]:
        for names in directive["Dimensions"]:
            dimensions = tuple(sorted((name, str(said[name])) for name in names))
            for metric in directive["Metrics"]:
                value = said[metric["Name"]]
                number = sum(value) if isinstance(value, list) else value
                yield Metric(directive["Namespace"], metric["Name"], dimensions, float(number))


@dataclass(frozen=True)
class Event:
    """An S3 event that EventBridge has delivered for the rule of `stage`."""

    stage: str
    detail: Mapping[str, Any]

    @property
    def cause(self) -> str:
        return str(self.detail["detail"]["object"]["key"])


class Deployed:
    """Three functions and what calls them; use it with `with`.

    `watch` is told of each call when it is answered.
    """

    def __init__(
        self,
        moto: Moto,
        outputs: Mapping[str, Any],
        folder: Path,
        watch: Callable[[Call], None] = lambda _: None,
    ) -> None:
        """`outputs` are Terraform's; `folder` takes the unpacked bundle, logs and scratch files."""
        self.outputs = outputs
        self._moto = moto
        self._folder = folder
        self._watch = watch
        self._open = ExitStack()
        self._lambda = moto.client("lambda")
        self._queues = moto.client("sqs")
        self._sandboxes = 0
        self._bundle = folder / "bundle.zip"
        self._task = folder / "task"
        self.functions: dict[str, Function] = {}
        self.roles: dict[str, Credentials] = {}
        """The temporary credentials of each function's role."""
        self.warm: dict[str, Sandbox] = {}

    def __enter__(self) -> Self:
        self._runtime = runtime_folder(self._folder / "runtime")
        for stage, name in self.outputs["functions"].items():
            made = self._lambda.get_function_configuration(FunctionName=name)
            if not self._task.exists():
                self._unpack(name, made["CodeSha256"])
            self.roles[stage] = self._assume(made["Role"])
            self.functions[stage] = Function(
                name,
                made["FunctionArn"],
                made["Handler"],
                self._task,
                {
                    **JSON_LOG,
                    **made["Environment"]["Variables"],
                    **self._moto.environment(self.roles[stage]),
                },
                made["Timeout"],
                made["MemorySize"],
            )
            self.warm[stage] = self._open.enter_context(self.sandbox(stage))
        self._schedules = self._targets_of_schedules()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def sandbox(self, stage: str) -> Sandbox:
        """Another process of a function, as Lambda starts for a call while one is under way."""
        self._sandboxes += 1
        folder = self._folder / f"sandbox-{self._sandboxes}-{stage}"
        return Sandbox(self.functions[stage], self._runtime, folder)

    def strays(self) -> list[str]:
        """Files beside the functions' code that are not of the bundle; Lambda would forbid them."""
        with zipfile.ZipFile(self._bundle) as archive:
            packed = set(archive.namelist())
        found = (path for path in self._task.rglob("*") if path.is_file())
        return [name for path in found if (name := str(path.relative_to(self._task))) not in packed]

    # -- what AWS would do

    def tick(self, stage: str) -> Call:
        """The stage's schedule calls, as EventBridge Scheduler would by the clock."""
        target = self._schedules[stage]
        return self.call(self._stage_of(target["Arn"]), "its schedule", json.loads(target["Input"]))

    def heard(self) -> list[Event]:
        """The events that wait, taken out of the queues: delivered once, or lost."""
        return [event for stage in self.outputs["rules"] for event in self._taken(stage)]

    def deliver(self) -> list[Call]:
        """Every event to the functions that its rule names, and what follows from that."""
        calls: list[Call] = []
        while events := self.heard():
            calls += [call for event in events for call in self.pass_on(event)]
        return calls

    def pass_on(self, event: Event) -> list[Call]:
        """One event to the functions that its rule names."""
        targets = self._targets(event.stage)
        functions = [arn for arn in targets if arn.split(":")[2] == "lambda"]
        return [self.call(self._stage_of(arn), event.cause, event.detail) for arn in functions]

    def call(self, stage: str, cause: str, event: Any) -> Call:
        """The warm function with an event."""
        made = Call(stage, cause, self.warm[stage].invoke(event))
        self._watch(made)
        return made

    def _taken(self, stage: str) -> Iterator[Event]:
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

    def _targets_of_schedules(self) -> dict[str, dict[str, str]]:
        """Whom each stage's schedule would call, and with what."""
        scheduler = self._moto.client("scheduler")
        known = {one["Name"]: one["GroupName"] for one in scheduler.list_schedules()["Schedules"]}
        targets = {}
        for stage, name in self.outputs["schedules"].items():
            schedule = scheduler.get_schedule(Name=name, GroupName=known[name])
            if schedule["State"] == "ENABLED":
                targets[stage] = schedule["Target"]
        return targets

    def _stage_of(self, arn: str) -> str:
        [stage] = [stage for stage, function in self.functions.items() if function.arn == arn]
        return stage

    def _unpack(self, function: str, digest: str) -> None:
        """The bundle as it lies in the artefact bucket; it must be the one that moto was given."""
        store = self._moto.client("s3")
        where = self._lambda.get_function(FunctionName=function)["Code"]["Location"]
        key = where.split(".amazonaws.com/")[1]
        bucket = self.outputs["artefacts_bucket"]
        store.download_file(bucket, key, str(self._bundle))
        with self._bundle.open("rb") as file:
            found = base64.b64encode(hashlib.file_digest(file, "sha256").digest()).decode()
        if found != digest:
            raise ValueError(f"{bucket}/{key} is not what function {function} was given")
        with zipfile.ZipFile(self._bundle) as archive:
            archive.extractall(self._task)

    def _assume(self, role: str) -> Credentials:
        """As Lambda does for a function."""
        made = self._moto.client("sts").assume_role(RoleArn=role, RoleSessionName="sandbox")
        given = made["Credentials"]
        return Credentials(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"])


def inventory(moto: Moto) -> frozenset[str]:
    """Everything in the account that the platform has kinds of, as `kind: name`."""
    asked: tuple[tuple[str, str, str, str], ...] = (
        ("s3", "list_buckets", "Buckets", "Name"),
        ("lambda", "list_functions", "Functions", "FunctionName"),
        ("sqs", "list_queues", "QueueUrls", ""),
        ("iam", "list_roles", "Roles", "RoleName"),
        ("iam", "list_policies", "Policies", "PolicyName"),
        ("iam", "list_users", "Users", "UserName"),
        ("events", "list_rules", "Rules", "Name"),
        ("scheduler", "list_schedules", "Schedules", "Name"),
        ("scheduler", "list_schedule_groups", "ScheduleGroups", "Name"),
        ("secretsmanager", "list_secrets", "SecretList", "Name"),
        ("sns", "list_topics", "Topics", "TopicArn"),
        ("sns", "list_subscriptions", "Subscriptions", "Endpoint"),
        ("logs", "describe_log_groups", "logGroups", "logGroupName"),
        ("logs", "describe_metric_filters", "metricFilters", "filterName"),
        ("cloudwatch", "describe_alarms", "MetricAlarms", "AlarmName"),
        ("cloudwatch", "list_dashboards", "DashboardEntries", "DashboardName"),
        ("glue", "get_databases", "DatabaseList", "Name"),
        ("athena", "list_work_groups", "WorkGroups", "Name"),
        ("ec2", "describe_vpcs", "Vpcs", "VpcId"),
        ("ec2", "describe_subnets", "Subnets", "SubnetId"),
        ("ec2", "describe_security_groups", "SecurityGroups", "GroupId"),
        ("ec2", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
        ("ec2", "describe_network_interfaces", "NetworkInterfaces", "NetworkInterfaceId"),
    )
    found = set()
    for service, action, answer, name in asked:
        client = moto.client(service)
        kwargs = {"Scope": "Local"} if action == "list_policies" else {}
        for one in getattr(client, action)(**kwargs).get(answer, []):
            if one and name and one.get("State") == "deleted":
                continue  # EC2 tells for a while what was there
            found.add(f"{service} {answer}: {one[name] if name else one}")
    keys = moto.client("kms")
    for key in keys.list_keys()["Keys"]:
        state = keys.describe_key(KeyId=key["KeyId"])["KeyMetadata"]["KeyState"]
        if state != "PendingDeletion":  # a key waits a week at least
            found.add(f"kms Keys: {key['KeyId']}")
    return frozenset(found)
