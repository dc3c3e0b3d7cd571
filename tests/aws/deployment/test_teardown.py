"""A second deployment, then the removal: this module must be the folder's last."""

from typing import Any

import pytest
from aws_inventory import inventory
from aws_platform import BUCKETS, Platform

pytestmark = pytest.mark.few(1)  # each is one command of Terraform, which takes long


def deployed_items(outputs: Any) -> set[str]:
    """Return some of what was deployed, as items of the inventory."""
    return {
        *(f"s3 Buckets: {outputs[bucket]}" for bucket in BUCKETS),
        *(f"lambda Functions: {name}" for name in outputs["functions"].values()),
        f"lambda Functions: {outputs['rates_function']}",
        *(f"iam Roles: {arn.split('/')[-1]}" for arn in outputs["roles"].values()),
        *(f"events Rules: {name}" for name in outputs["rules"].values()),
        *(f"scheduler Schedules: {name}" for name in outputs["schedules"].values()),
        f"sns Topics: {outputs['alert_topic']}",
        f"ecr repositories: {outputs['image_repository']['url'].split('/')[-1]}",
        f"ecs clusterArns: {outputs['task']['cluster']}",
        f"ecs taskDefinitionArns: {outputs['task']['definition']}",
    }


def test_a_second_deployment_changes_nothing(platform: Platform) -> None:
    assert platform.planned_changes() == ()
    platform.narrate("terraform", "a second plan has no changes")


def test_destroy_leaves_nothing_but_task_definitions(platform: Platform) -> None:
    """Which cost nothing, and which Terraform deregisters at no deployment."""
    deployed = inventory(platform.moto) - platform.foreign
    assert len(deployed) > 50
    assert deployed >= deployed_items(platform.outputs)
    platform.terraform("destroy", "-auto-approve", "-refresh=false", *platform.arguments)
    left = inventory(platform.moto) - platform.foreign
    assert f"ecs taskDefinitionArns: {platform.outputs['task']['definition']}" in left
    assert not [item for item in left if not item.startswith("ecs taskDefinitionArns: ")]
    platform.narrate("terraform", f"destroyed {len(deployed) - len(left)} of {len(deployed)} items")
