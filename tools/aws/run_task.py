"""Run a command of totes as a task on Fargate, and show its log until its end.

The task runs in the environment that terraform/ was last initialized for. This program ends with
the command's exit code, 1 if the task could not start, and 130 after Ctrl-C, which leaves the task
running.
"""

import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from botocore.exceptions import ClientError
from followed_log import (
    CLIENT_CONFIG,
    INTERRUPTED,
    RunFailed,
    follow,
    print_notice,
    run_program,
)
from terraform_outputs import output

from totes.aws_client import aws_client

POLL_SECONDS = 3.0

CREATE_WAREHOUSE = ["warehouse", "create"]
"""The command that needs a task definition of its own, with the secret of the server's master."""


@dataclass(frozen=True)
class Deployment:
    """Terraform's output `task`."""

    cluster: str
    definition: str
    create_definition: str | None
    subnets: Sequence[str]
    security_group: str
    log_group: str
    container: str

    @property
    def region(self) -> str:
        return self.cluster.split(":")[3]

    @classmethod
    def read(cls) -> Self:
        """Return the deployment of this folder's environment; RunFailed if it has no tasks."""
        values = output("task")
        if values is None:
            raise RunFailed("task_enabled is false: nothing runs on Fargate")
        return cls(**values)

    def definition_for(self, command: Sequence[str]) -> tuple[str, str]:
        """Return the name and ARN of the task definition for a command; RunFailed for none."""
        if list(command[:2]) != CREATE_WAREHOUSE:
            return "task", self.definition
        if self.create_definition is None:
            raise RunFailed("warehouse_enabled is false: create the roles on your own server")
        return "warehouse-creation", self.create_definition


@dataclass(frozen=True)
class Task:
    """A task that was started."""

    deployment: Deployment
    definition: str
    arn: str

    @property
    def stream(self) -> str:
        """The name of its log stream, as awslogs makes it."""
        return f"{self.definition}/{self.deployment.container}/{self.arn.split('/')[-1]}"

    @property
    def commands_to_continue(self) -> str:
        """What a person can do with a task that this program no longer follows."""
        where = self.deployment
        return (
            "The task goes on. Its log, and how to stop it:\n"
            f"  aws logs tail {where.log_group} --region {where.region}"
            f" --log-stream-names {self.stream} --follow\n"
            f"  aws ecs stop-task --region {where.region}"
            f" --cluster {where.cluster} --task {self.arn}"
        )


def start(ecs: Any, deployment: Deployment, command: Sequence[str]) -> Task:
    """Start a task that runs a command of totes."""
    name, definition = deployment.definition_for(command)
    answer = ecs.run_task(
        cluster=deployment.cluster,
        taskDefinition=definition,
        launchType="FARGATE",
        networkConfiguration={
            "awsvpcConfiguration": {
                "subnets": list(deployment.subnets),
                "securityGroups": [deployment.security_group],
                "assignPublicIp": "DISABLED",
            }
        },
        overrides={
            "containerOverrides": [{"name": deployment.container, "command": list(command)}]
        },
    )
    for failure in answer["failures"]:
        raise RunFailed(f"AWS started no task: {failure['reason']} {failure.get('detail', '')}")
    [started] = answer["tasks"]
    return Task(deployment, name, started["taskArn"])


class Log:
    """The log of a task."""

    def __init__(self, client: Any, task: Task) -> None:
        self.client = client
        self._task = task
        self._position: dict[str, str] = {}
        self.is_denied = False
        """Whether these credentials may not read it, as those of a deployment."""

    def new_lines(self) -> Iterator[str]:
        """Yield the lines that came since the last call; none before the task's first one."""
        while not self.is_denied:
            try:
                page = self.client.get_log_events(
                    logGroupName=self._task.deployment.log_group,
                    logStreamName=self._task.stream,
                    startFromHead=True,
                    **self._position,
                )
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code == "ResourceNotFoundException":
                    return
                if code != "AccessDeniedException":
                    raise
                self.is_denied = True
                return
            yield from (event["message"] for event in page["events"])
            position = {"nextToken": page["nextForwardToken"]}
            if position == self._position:  # the end; an empty page alone is none
                return
            self._position = position


def find_endings(ecs: Any, task: Task) -> Iterator[Mapping[str, Any] | None]:
    """Yield None while a task runs, and ECS's description of it once it has stopped.

    RunFailed if it is no longer described, as ECS forgets a stopped task after some time.
    """
    is_known = False  # one that has just started may not be described yet
    while True:
        answer = ecs.describe_tasks(cluster=task.deployment.cluster, tasks=[task.arn])
        if is_known and not answer["tasks"]:
            raise RunFailed("ECS no longer describes the task, so its exit code is not known.")
        is_known = bool(answer["tasks"])
        has_stopped = is_known and answer["tasks"][0]["lastStatus"] == "STOPPED"
        yield dict(answer["tasks"][0]) if has_stopped else None


def exit_code(stopped: Mapping[str, Any]) -> int:
    """Return the exit code of a stopped task's program; RunFailed with AWS's reason for none."""
    [container] = stopped["containers"]
    code: int | None = container.get("exitCode")
    reasons = (stopped.get("stoppedReason", ""), container.get("reason", ""))
    reason = "; ".join(filter(None, reasons)) or "AWS gives no reason"
    if code is None:
        hint = ": push the image with `make image-push`" if "CannotPull" in reason else ""
        raise RunFailed(f"the task ended before its program started: {reason}{hint}")
    if container.get("reason"):  # as when it was out of memory
        raise RunFailed(f"the program ended with exit code {code}: {reason}")
    return code


def run(
    deployment: Deployment,
    command: Sequence[str],
    pause: Callable[[float], object] = time.sleep,
) -> int:
    """Run a command as a task, print its log, and return its exit code."""
    ecs = aws_client("ecs", deployment.cluster, CLIENT_CONFIG)
    task = start(ecs, deployment, command)
    log = Log(aws_client("logs", deployment.cluster, CLIENT_CONFIG), task)
    what = f"{deployment.cluster.split('/')[-1]}: {shlex.join(['totes', *command])}"
    print_notice(f"{what} is task {task.arn.split('/')[-1]}; Ctrl-C ends this log, not the task.")
    stopped = follow(
        partial(next, find_endings(ecs, task)),
        log.new_lines,
        partial(pause, POLL_SECONDS),
        task.commands_to_continue,
    )
    if stopped is None:
        return INTERRUPTED
    if log.is_denied:
        print_notice(
            f"These credentials may not read its log: {deployment.log_group}, {task.stream}"
        )
    code = exit_code(stopped)
    print_notice(f"{what} ended with exit code {code}.")
    return code


if __name__ == "__main__":
    sys.exit(run_program("task", "verify", lambda command: run(Deployment.read(), command)))
