"""The tool that runs a command as a task on Fargate and shows its log."""

import time
from dataclasses import replace
from itertools import batched
from typing import Any

import pytest
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from followed_log import INTERRUPTED, RunFailed
from moto_server import REGION, Moto
from run_task import CREATE_WAREHOUSE, Deployment, Log, Task, exit_code, find_endings, run

PAGE = 10_000
"""The most lines that CloudWatch returns and takes at once."""

GROUP = "/aws/ecs/totes-dev-task"

pytestmark = pytest.mark.usefixtures("as_operator")


@pytest.fixture(scope="module")
def deployment(moto: Moto) -> Deployment:
    """A cluster with a task definition, as modules/task makes them."""
    ecs, ec2 = moto.client("ecs"), moto.client("ec2")
    moto.client("logs").create_log_group(logGroupName=GROUP)
    cluster = ecs.create_cluster(clusterName="totes-dev")["cluster"]["clusterArn"]
    definition = ecs.register_task_definition(
        family="totes-dev-task",
        networkMode="awsvpc",
        requiresCompatibilities=["FARGATE"],
        cpu="256",
        memory="512",
        containerDefinitions=[{"name": "totes", "image": "totes", "memory": 512}],
    )["taskDefinition"]["taskDefinitionArn"]
    subnet = ec2.describe_subnets()["Subnets"][0]
    group = ec2.describe_security_groups()["SecurityGroups"][0]["GroupId"]
    return Deployment(cluster, definition, None, [subnet["SubnetId"]], group, GROUP, "totes")


class Fargate:
    """Writes the next lines to the newest task's log each time that the tool waits.

    moto ends a task, with exit code 0, when it is described for the fourth time.
    """

    def __init__(self, moto: Moto, *steps: list[str]) -> None:
        self._moto = moto
        self._steps = iter(steps)
        self.written: list[str] = []

    def __call__(self, seconds: float) -> None:
        assert seconds > 0
        if lines := next(self._steps):
            self._write(lines)
            self.written += lines

    def newest(self) -> str:
        """Return the ARN of the newest task."""
        return str(self._moto.client("ecs").list_tasks(cluster="totes-dev")["taskArns"][-1])

    def _write(self, lines: list[str]) -> None:
        logs, stream = self._moto.client("logs"), f"task/totes/{self.newest().split('/')[-1]}"
        found = logs.describe_log_streams(logGroupName=GROUP, logStreamNamePrefix=stream)
        if not found["logStreams"]:
            logs.create_log_stream(logGroupName=GROUP, logStreamName=stream)
        now = int(time.time() * 1000)
        for page in batched(lines, PAGE):
            events = [{"timestamp": now, "message": line} for line in page]
            logs.put_log_events(logGroupName=GROUP, logStreamName=stream, logEvents=events)


def test_the_log_of_a_task_is_shown_from_its_first_line_to_its_last(
    moto: Moto, deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    more_than_a_page = [f"line {number}" for number in range(PAGE + 1)]
    fargate = Fargate(moto, [], ["one", "two"], more_than_a_page, ["the last"])
    assert run(deployment, ["run", "--once"], fargate) == 0
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["one", "two", *more_than_a_page, "the last"]
    assert "totes-dev: totes run --once ended with exit code 0" in shown.err
    ecs = moto.client("ecs")
    [task] = ecs.describe_tasks(cluster="totes-dev", tasks=[fargate.newest()])["tasks"]
    assert task["launchType"] == "FARGATE"
    assert task["overrides"]["containerOverrides"] == [
        {"name": "totes", "command": ["run", "--once"]}
    ]


def test_ctrl_c_leaves_the_task_running_and_says_how_to_stop_it(
    moto: Moto, deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(_seconds: float) -> None:
        raise KeyboardInterrupt

    assert run(deployment, ["verify"], interrupt) == INTERRUPTED
    [*_, command] = capsys.readouterr().err.splitlines()
    task = Fargate(moto).newest()
    assert command.split() == (
        f"aws ecs stop-task --region {REGION} --cluster {deployment.cluster} --task {task}".split()
    )


def test_a_log_that_may_not_be_read_is_asked_for_once(moto: Moto, deployment: Deployment) -> None:
    """As in a deployment, whose role may read no data: the exit code is enough."""
    log = Log(moto.client("logs"), Task(deployment, "task", f"{deployment.cluster}/1"))
    with Stubber(log.client) as stubber:  # moto refuses in another way than AWS
        stubber.add_client_error("get_log_events", "AccessDeniedException", http_status_code=400)
        assert list(log.new_lines()) == []
        assert log.is_denied
        assert list(log.new_lines()) == []  # a second request would fail


def test_a_task_that_is_no_longer_described_is_not_waited_for(
    moto: Moto, deployment: Deployment
) -> None:
    """As after a night in which this machine slept; one that was never described may be new."""
    task, ecs = Task(deployment, "task", f"{deployment.cluster}/1"), moto.client("ecs")
    missing = {"tasks": [], "failures": [{"arn": task.arn, "reason": "MISSING"}]}
    with Stubber(ecs) as stubber:
        for answer in (missing, {"tasks": [{"lastStatus": "RUNNING"}]}, missing):
            stubber.add_response("describe_tasks", answer)
        endings = find_endings(ecs, task)
        assert [next(endings), next(endings)] == [None, None]
        with pytest.raises(RunFailed, match="no longer describes"):
            next(endings)
        stubber.assert_no_pending_responses()


def test_a_task_that_aws_can_not_start_is_one_line(deployment: Deployment) -> None:
    with pytest.raises(RunFailed, match="warehouse_enabled is false"):
        run(deployment, [*CREATE_WAREHOUSE])
    with pytest.raises(ClientError, match="Cluster not found"):
        run(replace(deployment, cluster=f"{deployment.cluster}-2"), ["verify"])


STOPPED: dict[str, Any] = {"stoppedReason": "Essential container in task exited"}


@pytest.mark.parametrize("code", [0, 1, 143])
def test_the_programs_exit_code_is_the_tools(code: int) -> None:
    assert exit_code(STOPPED | {"containers": [{"exitCode": code}]}) == code


@pytest.mark.parametrize(
    ("stopped", "message"),
    [
        (
            {"stoppedReason": "CannotPullContainerError: not found", "containers": [{}]},
            "ended before its program started: CannotPullContainerError: not found: push the image",
        ),
        (
            {"stoppedReason": "Fargate capacity is unavailable", "containers": [{}]},
            "before its program started: Fargate capacity is unavailable$",
        ),
        ({"containers": [{}]}, "AWS gives no reason"),
        (
            STOPPED | {"containers": [{"exitCode": 137, "reason": "OutOfMemoryError"}]},
            "ended with exit code 137: Essential container in task exited; OutOfMemoryError",
        ),
    ],
)
def test_a_task_that_did_not_end_by_itself_says_why(stopped: dict[str, Any], message: str) -> None:
    with pytest.raises(RunFailed, match=message):
        exit_code(stopped)
