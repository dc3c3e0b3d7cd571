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
from typing import Any

from run_task import CLIENT_CONFIG, INTERRUPTED, NOT_STARTED, print_notice
from terraform_outputs import output

from totes.aws.spark_jobs import ENDED, SparkApplication
from totes.aws_client import AWS_ERRORS, aws_client, describe
from totes.errors import UsageError

POLL_SECONDS = 5.0

LATE_MS = 60_000
"""Lines may reach CloudWatch by this much later than others that are newer."""


class JobFailed(Exception):
    """A job that could not start, or did not succeed."""


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
    """Return the Spark application of this folder's environment; JobFailed if it has none."""
    values = output("spark")
    if values is None:
        raise JobFailed("spark_enabled is false: there is no Spark application")
    return SparkApplication(
        values["application"], values["role"], values["program"], values["settings"], values["arn"]
    )


def follow(
    job: Job, log: Log, show: Callable[[str], object], pause: Callable[[float], object]
) -> Mapping[str, Any]:
    """Show the log of a job until it has ended, and return its last description."""
    while True:
        described = job.application.describe(job.identifier)
        for line in log.new_lines():
            show(line)
        pause(POLL_SECONDS)
        if described["state"] in ENDED:
            for line in log.new_lines():  # the last ones arrive late
                show(line)
            return described


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
    try:
        ended = follow(job, log, lambda line: print(line, flush=True), pause)
    except KeyboardInterrupt:
        print_notice(job.commands_to_continue)
        return INTERRUPTED
    except AWS_ERRORS as error:
        raise JobFailed(f"{describe(error)}\n{job.commands_to_continue}") from None
    if ended["state"] != "SUCCESS":
        raise JobFailed(f"{what} ended: {ended['state']}. {ended.get('stateDetails') or ''}")
    print_notice(f"{what} succeeded.")
    return 0


def main() -> int:
    command = sys.argv[1:]
    if not command:
        print_notice("spark-job: give a command of totes, such as `transform --engine spark`")
        return NOT_STARTED
    try:
        return run(application(), command)
    except (JobFailed, UsageError) as failed:
        print_notice(f"spark-job: {failed}")
    except AWS_ERRORS as error:
        print_notice(f"spark-job: {describe(error)}")
    return NOT_STARTED


if __name__ == "__main__":
    sys.exit(main())
