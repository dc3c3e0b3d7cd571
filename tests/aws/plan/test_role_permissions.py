"""Each role, service and person may make the calls of role_calls.toml, and must not make others."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from iam_evaluator import Call, Principal, decide
from planned_permissions import PlannedPermissions
from terraform_cli import ROOT
from terraform_plan import ACCOUNT, ENVIRONMENT, Planned, in_plan

FILE = Path(__file__).with_name("role_calls.toml")
CALLS: dict[str, Any] = tomllib.loads(in_plan(FILE.read_text(encoding="utf-8")))
RESOURCES: dict[str, str] = CALLS.pop("resources")
ROLES_OF_PLATFORM = CALLS.pop("roles of the platform")
ENDPOINTS = CALLS.pop("endpoints")


def call(text: str) -> Call:
    """Return a call as the file writes it."""
    action, resource, *keys = text.split()
    name = resource.replace(":", "/").partition("/")[0]
    arn = RESOURCES.get(name, name) + resource.removeprefix(name)
    return Call(action, arn, dict(key.split("=", 1) for key in keys))


@pytest.mark.parametrize("caller", CALLS)
def test_a_caller_may_make_the_calls_that_it_must(
    permissions: PlannedPermissions, caller: str
) -> None:
    decisions = [(text, permissions.decide(caller, call(text))) for text in CALLS[caller]["must"]]
    assert decisions
    assert not [f"{text}: {one.reason}" for text, one in decisions if not one.allowed]


@pytest.mark.parametrize("caller", CALLS)
def test_a_caller_may_not_make_other_calls(permissions: PlannedPermissions, caller: str) -> None:
    decisions = [
        (text, permissions.decide(caller, call(text))) for text in CALLS[caller]["must_not"]
    ]
    assert decisions
    assert not [f"{text}: {one.reason}" for text, one in decisions if one.allowed]


def test_no_role_of_the_platform_may_make_calls_beyond_it(permissions: PlannedPermissions) -> None:
    limited = [name for name, role in permissions.roles.items() if role.boundary is not None]
    allowed = [
        f"{name}: {text}: {decision.reason}"
        for name in limited
        for text in ROLES_OF_PLATFORM["must_not"]
        if (decision := permissions.decide(name, call(text))).allowed
    ]
    assert f"totes-{ENVIRONMENT}-ingest" in limited
    assert not allowed


def test_every_role_has_its_calls(permissions: PlannedPermissions) -> None:
    assert not {*permissions.roles} - {*CALLS}, f"add its calls to {FILE.name}"
    callers = {caller for caller in CALLS if "." not in caller}
    assert not callers - {*permissions.roles}, "there is no such role"


def test_every_role_of_the_platform_has_its_boundary(planned: Planned) -> None:
    limits = {
        resource.values["name"]: resource.values["permissions_boundary"]
        for resource in planned.created
        if resource.type == "aws_iam_role" and resource.address.startswith("platform.")
    }
    assert f"totes-{ENVIRONMENT}-ingest" in limits
    assert {*limits.values()} == {f"arn:aws:iam::{ACCOUNT}:policy/totes-{ENVIRONMENT}-boundary"}


@pytest.mark.parametrize("word", ["must", "must_not"])
def test_endpoints_lead_to_this_account_only(permissions: PlannedPermissions, word: str) -> None:
    anybody = Principal("AWS", "arn:aws:iam::999999999999:role/any")
    for text in ENDPOINTS[word]:
        one = call(text)
        context = {"aws:ResourceAccount": ACCOUNT, **one.context}
        policy = permissions.endpoints[one.action.partition(":")[0]]
        decision = decide(anybody, Call(one.action, one.resource, context), policy)
        assert decision.allowed is (word == "must"), text


def test_the_state_is_encrypted_with_the_key_that_bootstrap_makes(planned: Planned) -> None:
    backend = (ROOT / "terraform" / "backend.tf").read_text(encoding="utf-8")
    [key] = re.findall(r'^\s+kms_key_id\s+= "(.+)"$', backend, re.MULTILINE)
    made = {
        resource.values["name"]
        for resource in planned.resources
        if resource.address.startswith("bootstrap.") and resource.type == "aws_kms_alias"
    }
    assert key in made
