"""The deploying role may create, change and remove what is planned, and nothing of others."""

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from iam_evaluator import Call, Decision
from planned_permissions import PlannedPermissions
from terraform_plan import ENVIRONMENT, OTHER_ENVIRONMENT, Planned, Resource, in_plan, merged

FILE = Path(__file__).with_name("deploy_role_calls.toml")
ROLE = f"totes-deploy-{ENVIRONMENT}"
TYPES: dict[str, Any] = tomllib.loads(FILE.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def calls(planned: Planned) -> dict[str, list[str]]:
    """The calls for all resources of the platform, by type."""
    found: dict[str, list[str]] = {}
    for resource in merged(planned.created, planned.resources):
        if resource.address.startswith("platform.") and resource.type in TYPES:
            found.setdefault(resource.type, []).extend(made(resource))
    return {kind: sorted({*texts}) for kind, texts in found.items()}


WORDS = {
    "tagged": "aws:ResourceTag/Project=totes aws:ResourceTag/Environment=ENV",
    "new": "ec2:CreateAction=any",
}
"""Words of a call that stand for condition keys."""


def made(resource: Resource) -> Iterable[str]:
    """Yield the calls for a resource: action, ARN and condition keys, or `unguarded`."""
    described = TYPES[resource.type]
    for text in described["calls"]:
        action, *words = text.split()
        more = [each for word in words for each in WORDS.get(word, word).split()]
        keys = [word for word in more if "=" in word or word == "unguarded"]
        arn = next((word for word in more if word not in keys), described["arn"])
        if not arn.startswith(("arn:", "{", "*")):
            arn = f"arn:aws:{arn}"
        yield in_plan(" ".join([action, arn, *keys])).format_map(resource.values)


def decided(permissions: PlannedPermissions, text: str) -> Decision:
    action, arn, *keys = text.split()
    context = dict(key.split("=", 1) for key in keys if key != "unguarded")
    return permissions.decide(ROLE, Call(action, arn, context), guarded="unguarded" not in keys)


def test_every_type_of_resource_has_its_calls(planned: Planned) -> None:
    own = (one for one in planned.resources if one.address.startswith("platform."))
    assert not {one.type for one in own} - {*TYPES}, f"add its calls to {FILE.name}"


@pytest.mark.parametrize("kind", TYPES)
def test_the_role_may_deploy_what_is_planned(
    permissions: PlannedPermissions, calls: dict[str, list[str]], kind: str
) -> None:
    decisions = [(text, decided(permissions, text)) for text in calls[kind]]
    assert decisions
    assert not [f"{text}: {one.reason}" for text, one in decisions if not one.allowed]


@pytest.mark.parametrize("kind", TYPES)
def test_the_role_may_not_change_another_environment(
    permissions: PlannedPermissions, calls: dict[str, list[str]], kind: str
) -> None:
    """Of the same calls, those that name the environment, for the other one."""
    others = [
        text.replace(ENVIRONMENT, OTHER_ENVIRONMENT) for text in calls[kind] if ENVIRONMENT in text
    ]
    allowed = [text for text in others if decided(permissions, text).allowed]
    assert not allowed
