"""Who may do what in the planned account: its roles, policies and resources' policies."""

import json
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

from iam_evaluator import Call, Decision, Principal, Statement, decide
from terraform_plan import ACCOUNT, Planned, Resource

RESOURCE_POLICIES = {
    "aws_ecr_repository_policy": ("repository", "policy"),
    "aws_iam_role": ("arn", "assume_role_policy"),
    "aws_kms_key": ("arn", "policy"),
    "aws_s3_bucket_policy": ("bucket", "policy"),
    "aws_sns_topic_policy": ("arn", "policy"),
}
"""By type: the attribute that names the resource with a policy, and that of the policy."""


class PlannedPermissions:
    """The account as planned, after an apply."""

    def __init__(self, planned: Planned) -> None:
        self._planned = planned

    @cached_property
    def roles(self) -> Mapping[str, Principal]:
        """Each role by its name.

        Policies that no role has, for people, are as a role that has only it, and an administrator
        may do everything that policies of resources do not deny.
        """
        roles = {"administrator": _role("administrator", [_ALLOW_ALL])}
        for role in self._of_type("aws_iam_role"):
            name, limit = role.values["name"], role.values.get("permissions_boundary")
            policies = [one for text in self._attached.get(name, ()) for one in statements(text)]
            boundary = statements(self._policies[limit]) if limit else None
            roles[name] = Principal("AWS", role.values["arn"], policies, boundary)
        used = {text for texts in self._attached.values() for text in texts}
        for policy in self._of_type("aws_iam_policy"):
            name, text = policy.values["name"], policy.values["policy"]
            if text not in used and not name.endswith("-boundary"):
                roles[name] = _role(name, statements(text))
        return roles

    def decide(self, caller: str, call: Call, *, guarded: bool = True) -> Decision:
        """Decide a call of a role, of a service by its host name, or of an identity provider's ARN.

        The call gets the condition keys that AWS adds to every call: tags of the resource, the
        caller, and TLS; a put to S3 creates an object. Not `guarded`, the policy of the resource
        has been removed.
        """
        if caller.startswith("arn:"):
            principal = Principal("Federated", caller)
        elif "." in caller:
            principal = Principal("Service", caller)
        else:
            principal = self.roles[caller]
        added = {
            "aws:SecureTransport": "true",
            "aws:ResourceAccount": ACCOUNT,
            **{f"aws:ResourceTag/{key}": tag for key, tag in self._tags(call.resource).items()},
        }
        if principal.kind == "AWS":
            added |= {"aws:PrincipalArn": principal.name, "aws:PrincipalAccount": ACCOUNT}
        if call.action == "s3:PutObject":
            added["s3:ObjectCreationOperation"] = "true"
        whole = Call(call.action, call.resource, {**added, **call.context})
        policy = self._resource_policies.get(_owner(call.resource)) if guarded else None
        if policy is None and ":key/" in call.resource:
            policy = [_LEFT_TO_IAM]
        return decide(principal, whole, policy)

    @cached_property
    def endpoints(self) -> Mapping[str, list[Statement]]:
        """The policy of each endpoint of the network, by service, such as s3."""
        return {
            endpoint.values["service_name"].rpartition(".")[2]: statements(policy)
            for endpoint in self._of_type("aws_vpc_endpoint")
            if (policy := endpoint.values.get("policy", "")).startswith("{")
        }

    @cached_property
    def _attached(self) -> Mapping[str, list[str]]:
        """The texts of the policies of each role, by its name."""
        attached: dict[str, list[str]] = {}
        for inline in self._of_type("aws_iam_role_policy"):
            attached.setdefault(inline.values["role"], []).append(inline.values["policy"])
        for attachment in self._of_type("aws_iam_role_policy_attachment"):
            text = self._policies[attachment.values["policy_arn"]]
            attached.setdefault(attachment.values["role"], []).append(text)
        return attached

    @cached_property
    def _policies(self) -> Mapping[str, str]:
        """The text of each policy by its ARN: ours and AWS's, of which moto has a copy."""
        from moto.iam.aws_managed_policies import (  # noqa: PLC0415  takes a second
            aws_managed_policies_data,
        )

        managed: dict[str, Any] = json.loads(aws_managed_policies_data)
        own: dict[str, str] = {
            policy.values["arn"]: policy.values["policy"]
            for policy in self._of_type("aws_iam_policy")
        }
        return own | {
            f"arn:aws:iam::aws:policy{described['Path']}{name}": json.dumps(described["Document"])
            for name, described in managed.items()
        }

    @cached_property
    def _resource_policies(self) -> Mapping[str, list[Statement]]:
        """The policy of each resource that has one, by the resource's ARN."""
        found: dict[str, list[Statement]] = {}
        arns = {
            one.values[key]: one.values["arn"]
            for one in self._planned.created
            for key in ("id", "bucket", "url")
            if one.values.get("arn") and one.values.get(key)
        }
        for kind, (names, policy) in RESOURCE_POLICIES.items():
            for one in self._of_type(kind):
                named = one.values[names]
                found[arns.get(named, named)] = statements(one.values[policy])
        for permission in self._of_type("aws_lambda_permission"):
            values = permission.values
            [function] = (
                one.values["arn"]
                for one in self._of_type("aws_lambda_function")
                if one.values["function_name"] == values["function_name"]
            )
            found.setdefault(function, []).append(_invocation(values, function))
        return found

    def _tags(self, arn: str) -> Mapping[str, str]:
        """The tags of a resource, with the provider's default tags, which only the plan has."""
        return self._tags_by_arn.get(arn, {})

    @cached_property
    def _tags_by_arn(self) -> Mapping[str, Mapping[str, str]]:
        tags = {one.address: one.values.get("tags_all") or {} for one in self._planned.resources}
        return {
            one.values["arn"]: tags.get(one.address, {})
            for one in self._planned.created
            if one.values.get("arn")
        }

    def _of_type(self, kind: str) -> Iterable[Resource]:
        return (one for one in self._planned.created if one.type == kind)


_LEFT_TO_IAM: Statement = {
    "Effect": "Allow",
    "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
    "Action": "kms:*",
    "Resource": "*",
}
"""KMS' default policy of a key: that of all keys that are not planned."""

_ALLOW_ALL: Statement = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def _role(name: str, policies: list[Statement]) -> Principal:
    return Principal("AWS", f"arn:aws:iam::{ACCOUNT}:role/{name}", policies)


def statements(policy: str) -> list[Statement]:
    """Return the statements of a policy."""
    found: list[Statement] = json.loads(policy)["Statement"]
    return found


def _owner(arn: str) -> str:
    """Return the ARN of the resource whose policy is about `arn`: of an object, the bucket."""
    return arn.partition("/")[0] if arn.startswith("arn:aws:s3:::") else arn


def _invocation(values: Mapping[str, Any], function: str) -> Statement:
    """Return the statement that Lambda makes of a permission."""
    conditions = {
        "ArnLike": {"aws:SourceArn": values["source_arn"]},
        "StringEquals": {"aws:SourceAccount": values["source_account"]},
    }
    return {
        "Sid": values["statement_id"],
        "Effect": "Allow",
        "Principal": {"Service": values["principal"]},
        "Action": values["action"],
        "Resource": function,
        "Condition": {
            operator: keys for operator, keys in conditions.items() if all(keys.values())
        },
    }
