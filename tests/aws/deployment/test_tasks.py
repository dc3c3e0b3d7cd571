"""A task on Fargate: its settings, its permissions, and the tool that runs it."""

import json

import pytest
from aws_platform import Platform
from fargate import Fargate
from image_tree import ImageTree
from s3_service import forget_clients
from task import Deployment, run

pytestmark = pytest.mark.usefixtures("first_calls")


def test_the_nightly_verify_finds_warehouse_and_source_equal(
    platform: Platform,
    image_tree: ImageTree,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    moto, deployment = platform.moto, Deployment(**platform.outputs["task"])
    target = moto.client("scheduler").get_schedule(Name="totes-demo-verify", GroupName="totes-demo")
    scheduled = target["Target"]
    assert scheduled["Arn"] == deployment.cluster
    assert scheduled["EcsParameters"]["TaskDefinitionArn"] == deployment.definition
    [override] = json.loads(scheduled["Input"])["containerOverrides"]
    assert override["name"] == deployment.container

    for name, value in moto.environment().items():
        monkeypatch.setenv(name, value)
    forget_clients()
    fargate = Fargate(moto, image_tree)
    fargate.start()
    codes: list[int] = []

    def wait(_seconds: float) -> None:
        if not codes:
            [task] = moto.client("ecs").list_tasks(cluster=deployment.cluster)["taskArns"]
            codes.append(fargate.run(deployment.cluster, task))

    assert run(deployment, override["command"], wait) == 0
    shown = capsys.readouterr().out
    assert codes == [0], shown
    verdict = shown.splitlines()[-1]
    assert verdict.startswith("The warehouse equals the source as of batch ")
    assert platform.query("SELECT equal FROM totes.verifications") == [(True,)]
    assert platform.functions.tick("load").metric("VerifyDiffers").value == 0
    platform.narrate("verify", f"on Fargate: {verdict}")
