"""The removal of the platform: this module must be the folder's last."""

from typing import Any

from aws_inventory import inventory
from aws_platform import BUCKETS, Platform


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


def test_destroy_removes_everything(platform: Platform) -> None:
    deployed = inventory(platform.moto) - platform.foreign
    assert len(deployed) > 50
    assert deployed >= deployed_items(platform.outputs)
    platform.terraform("destroy", "-auto-approve", "-refresh=false", *platform.arguments)
    assert inventory(platform.moto) - platform.foreign == frozenset()
    platform.narrate("terraform", f"destroyed everything: none of {len(deployed)} items is left")
