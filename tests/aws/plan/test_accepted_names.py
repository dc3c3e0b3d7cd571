"""AWS accepts every planned name, description, tag and policy, which a plan does not check."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable

import pytest
from aws_names import REFERENCES_AND_CONSTANTS, RULES, refused_tags, texts
from terraform_plan import Planned, Resource, merged

POLICIES = {
    "policy": {
        "aws_iam_policy": 6_144,
        "aws_kms_key": 32_768,
        "aws_s3_bucket_policy": 20_480,
        "aws_sns_topic_policy": 30_720,
        "aws_vpc_endpoint": 20_480,
    },
    "assume_role_policy": {"aws_iam_role": 2_048},
}
"""Longest policy in characters, by attribute and type: IAM's and the services' quotas."""

INLINE_POLICIES = 10_240
"""Longest inline policies of a role together."""

SETTINGS_BYTES = 4_096
"""Largest environment of a function."""


def test_every_name_and_description_is_one_that_aws_accepts(planned: Planned) -> None:
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for resource in merged(planned.resources, planned.created):
        for attribute, text in texts(resource.type, resource.values):
            found[resource.type, attribute].append(text)
    assert not {*found} - {*RULES} - REFERENCES_AND_CONSTANTS, (
        "add a rule to tests/support/aws_names.py"
    )
    refused = {
        f"{kind}.{attribute}: {text!r}, but AWS requires {RULES[kind, attribute]}"
        for kind, attribute in {*found} & {*RULES}
        for text in found[kind, attribute]
        if not RULES[kind, attribute].accepts(text)
    }
    assert not refused
    assert ("aws_vpc_security_group_ingress_rule", "description") in found


def test_every_tag_is_one_that_aws_accepts(planned: Planned) -> None:
    resources = merged(planned.resources, planned.created)
    assert not [f"{one.address}: {tag}" for one in resources for tag in refused_tags(one.values)]
    assert sum("Environment" in (one.values.get("tags_all") or {}) for one in resources) > 50


@pytest.mark.parametrize(
    ("attribute", "kind", "longest"),
    [(name, kind, longest) for name, kinds in POLICIES.items() for kind, longest in kinds.items()],
)
def test_no_policy_is_longer_than_aws_allows(
    planned: Planned, attribute: str, kind: str, longest: int
) -> None:
    lengths = {
        resource.address: len(text)
        for resource in planned.created
        if resource.type == kind and (text := resource.values.get(attribute))
    }
    assert lengths
    assert not {address: length for address, length in lengths.items() if length > longest}


def test_the_inline_policies_of_no_role_are_longer_than_iam_allows(planned: Planned) -> None:
    lengths: dict[str, int] = defaultdict(int)
    for resource in planned.created:
        if resource.type == "aws_iam_role_policy":
            lengths[resource.values["role"]] += len(resource.values["policy"])
    assert lengths
    assert not {role: length for role, length in lengths.items() if length > INLINE_POLICIES}


def test_the_statements_of_each_policy_have_different_valid_ids(planned: Planned) -> None:
    ids = {
        f"{resource.address} {attribute}": [one.get("Sid", "") for one in statements]
        for resource in planned.created
        for attribute, statements in policies(resource)
    }
    assert ids
    wrong = {
        where: found
        for where, found in ids.items()
        if len({*found}) < len(found) or not all(re.fullmatch("[A-Za-z0-9]*", one) for one in found)
    }
    assert not wrong


def test_the_settings_of_each_function_fit(planned: Planned) -> None:
    functions = [one for one in planned.created if one.type == "aws_lambda_function"]
    settings = {one.address: one.values["environment"][0]["variables"] for one in functions}
    assert settings
    for address, variables in settings.items():
        assert all(re.fullmatch("[A-Za-z][A-Za-z0-9_]+", name) for name in variables), address
        assert len(json.dumps(variables).encode()) <= SETTINGS_BYTES, address


def test_every_location_of_the_catalogue_ends_with_a_slash(planned: Planned) -> None:
    """Athena's guide asks for it; without it, a location would also be that of longer names."""
    locations = {
        resource.address: [
            resource.values["storage_descriptor"][0]["location"],
            *filter(None, [resource.values["parameters"].get("storage.location.template")]),
        ]
        for resource in planned.created
        if resource.type == "aws_glue_catalog_table"
        and resource.values["table_type"] == "EXTERNAL_TABLE"
    }
    assert len(locations) > 10
    assert not [
        f"{address}: {location}"
        for address, each in locations.items()
        for location in each
        if not location.endswith("/")
    ]


def policies(resource: Resource) -> Iterable[tuple[str, list[dict[str, str]]]]:
    """Yield attribute and statements of each policy of a resource."""
    for attribute in ("policy", "assume_role_policy"):
        text = resource.values.get(attribute)
        if isinstance(text, str) and text.startswith("{"):
            yield attribute, json.loads(text).get("Statement", [])
