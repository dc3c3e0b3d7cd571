"""Run a command of totes as a Spark job on EMR Serverless, and show its log until its end.

The job runs in the environment that terraform/ was last initialized for. This program ends with 0
if the job succeeds, 1 if it does not, and 130 after Ctrl-C, which leaves the job running.
"""

import secrets
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from followed_log import (
    CLIENT_CONFIG,
    INTERRUPTED,
    RunFailed,
    follow,
    print_notice,
    run_program,
)
from terraform_outputs import output

from totes.aws.spark_jobs import ENDED, SparkApplication
from totes.aws_client import aws_client

POLL_SECONDS = 5.0

LATE_MS = 60_000
"""Lines may reach CloudWatch by this much later than others that are newer."""


@dataclass(frozen=True)
class Job:
    """A job that was started."""

    application: SparkApplication
    identifier: str
    token: str

    @property
    def commands_to_continue(self) -> str:
        """What a person can do with a job that this program no longer follows."""
        where = self.application
        region = where.region.split(":")[3]
        return (
            "The job goes on. Its log, and how to stop it:\n"
            f"  aws logs tail {where.log_group} --region {region}"
            f" --log-stream-name-prefix {self.token} --follow\n"
            f"  aws emr-serverless cancel-job-run --region {region}"
            f" --application-id {where.identifier} --job-run-id {self.identifier}"
        )


@dataclass
class Log:
    """The log of a job's driver: what it printed, in the order of time."""

    client: Any
    job: Job
    _since_ms: int = 0
    _shown: dict[str, int] = field(default_factory=dict)
    """The times of the newest lines, by their ids."""

    def new_lines(self) -> Iterator[str]:
        """Yield the lines that came since the last call."""
        pages = self.client.get_paginator("filter_log_events").paginate(
            logGroupName=self.job.application.log_group,
            logStreamNamePrefix=f"{self.job.token}/",
            startTime=self._since_ms,
        )
        for page in pages:
            for event in page["events"]:
                if event["eventId"] not in self._shown:
                    self._shown[event["eventId"]] = event["timestamp"]
                    yield event["message"].rstrip("\n")
        self._since_ms = max(max(self._shown.values(), default=0) - LATE_MS, 0)
        self._shown = {one: at for one, at in self._shown.items() if at >= self._since_ms}


def application() -> SparkApplication:
    """Return the Spark application of this folder's environment; RunFailed if it has none."""
    values = output("spark")
    if values is None:
        raise RunFailed("spark_enabled is false: there is no Spark application")
    return SparkApplication(
        values["application"], values["role"], values["program"], values["settings"], values["arn"]
    )


def run(
    where: SparkApplication,
    command: Sequence[str],
    pause: Callable[[float], object] = time.sleep,
) -> int:
    """Run a command as a job, print its log, and return the exit code of this program."""
    token = f"by-hand-{secrets.token_hex(8)}"
    job = Job(where, where.start("by hand", token, list(command)), token)
    what = f"{where.role.rpartition('/')[2]}: {shlex.join(['totes', *command])}"
    print_notice(f"{what} is job {job.identifier}; Ctrl-C ends this log, not the job.")
    log = Log(aws_client("logs", where.region, CLIENT_CONFIG), job)

    def find_ending() -> Mapping[str, Any] | None:
        described = where.describe(job.identifier)
        return described if described["state"] in ENDED else None

    ended = follow(
        find_ending, log.new_lines, partial(pause, POLL_SECONDS), job.commands_to_continue
    )
    if ended is None:
        return INTERRUPTED
    if ended["state"] != "SUCCESS":
        raise RunFailed(f"{what} ended: {ended['state']}. {ended.get('stateDetails') or ''}")
    print_notice(f"{what} succeeded.")
    return 0


if __name__ == "__main__":
    example = "transform --engine spark"
    sys.exit(run_program("spark-job", example, lambda command: run(application(), command)))
