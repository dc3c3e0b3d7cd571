"""Whether AWS would allow a call, decided by policies alone, without an account.

After the IAM user guide, "Policy evaluation logic", for principals and resources of one account:
a denial in any policy denies; else a resource's policy or the principal's own must allow, and a
boundary must allow, too. A key's policy must always allow, be it by leaving it to IAM. What this
project's policies do not use is refused, never guessed: other operators, variables, sessions. A
condition key has one value in a call.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

Statement = Mapping[str, Any]
Context = Mapping[str, str]


class UnsupportedPolicyError(Exception):
    """A policy uses an element that this evaluator does not know."""


@dataclass(frozen=True)
class Call:
    """An action on a resource, `*` if the action has none, with the condition keys of the call."""

    action: str
    resource: str = "*"
    context: Context = field(default_factory=dict)

    def __str__(self) -> str:
        keys = "".join(f" {key}={value}" for key, value in self.context.items())
        return f"{self.action} {self.resource}{keys}"


@dataclass(frozen=True)
class Principal:
    """Who calls: `kind` and `name` are as in the element Principal of a policy.

    A service has no policies. Without a boundary, `boundary` is None.
    """

    kind: str
    name: str
    policies: Sequence[Statement] = ()
    boundary: Sequence[Statement] | None = None


@dataclass(frozen=True)
class Decision:
    """Whether a call is allowed, and why."""

    allowed: bool
    reason: str


def decide(
    principal: Principal, call: Call, resource_policy: Sequence[Statement] | None = None
) -> Decision:
    """Decide a call; `resource_policy` is that of the resource, if it has one."""
    identity = [one for one in principal.policies if _matches(one, call)]
    boundary = [one for one in principal.boundary or () if _matches(one, call)]
    resource_statements = [one for one in resource_policy or () if _matches(one, call)]
    naming_principal = [one for one in resource_statements if _names(one, principal)]
    denials = [one for one in (*identity, *boundary, *naming_principal) if one["Effect"] == "Deny"]
    if denials:
        return Decision(allowed=False, reason=f"denied by {_name(denials[0])}")
    if principal.boundary is not None and not boundary:
        return Decision(allowed=False, reason="the boundary does not allow it")
    if naming_principal:
        return Decision(
            allowed=True, reason=f"allowed by {_name(naming_principal[0])} of the resource"
        )
    if _needs_resource_policy(call) and not any(
        _names_account(one, principal) for one in resource_statements
    ):
        return Decision(allowed=False, reason="the resource's policy does not allow it")
    if identity:
        return Decision(allowed=True, reason=f"allowed by {_name(identity[0])}")
    return Decision(allowed=False, reason="no statement allows it")


def _needs_resource_policy(call: Call) -> bool:
    """Keys and roles are used only by those whom their policies name, be it by the account."""
    return ":key/" in call.resource or call.action.startswith("sts:AssumeRole")


def _name(statement: Statement) -> str:
    return str(statement.get("Sid") or f"the statement on {statement.get('Action')}")


def _matches(statement: Statement, call: Call) -> bool:
    """Whether a statement is about the call, whoever calls."""
    unknown = {*statement} - _ELEMENTS
    if unknown:
        raise UnsupportedPolicyError(f"{_name(statement)}: {', '.join(sorted(unknown))}")
    return (
        _selects(statement, "Action", call.action, _matches_action)
        and _selects(statement, "Resource", call.resource, _matches_resource)
        and _meets(statement.get("Condition", {}), call.context)
    )


_ELEMENTS = {
    "Sid",
    "Effect",
    "Principal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
}


def _selects(
    statement: Statement, element: str, value: str, matches: Callable[[str, str], bool]
) -> bool:
    """Whether `element` selects the value, or `Not…` does not; a trust policy has no resource."""
    if f"Not{element}" in statement:
        return not any(matches(one, value) for one in _texts(statement[f"Not{element}"]))
    if element not in statement:
        return element == "Resource"
    return any(matches(one, value) for one in _texts(statement[element]))


def _matches_action(pattern: str, action: str) -> bool:
    return _like(pattern.lower(), action.lower())


def _matches_resource(pattern: str, resource: str) -> bool:
    """Wildcards stay within the parts of an ARN, of which the last may contain colons."""
    if pattern == "*":
        return True
    kind = re.match(r"arn:\w+:(?!s3:)[^:]*:[^:]*:[^:]*:([^:/]*[*?][^:/]*)[:/]", pattern)
    if kind:  # "Using wildcards in ARNs": IAM allows none there
        raise UnsupportedPolicyError(f"{pattern}: a wildcard as the type of a resource")
    patterns, parts = pattern.split(":", 5), resource.split(":", 5)
    return len(patterns) == len(parts) and all(map(_like, patterns, parts))


def _names(statement: Statement, principal: Principal) -> bool:
    """Whether a resource's statement is about this principal."""
    named = statement.get("Principal")
    if named == "*":
        return True
    if not isinstance(named, Mapping):
        raise UnsupportedPolicyError(f"{_name(statement)}: no principal")
    names = _texts(named.get(principal.kind, []))
    return principal.name in names or (principal.kind == "AWS" and "*" in names)


def _names_account(statement: Statement, principal: Principal) -> bool:
    """Whether a resource's statement leaves the decision to the policies of the account."""
    named = statement.get("Principal")
    if statement["Effect"] != "Allow" or not isinstance(named, Mapping):
        return False
    if principal.kind != "AWS":
        return False
    root = f":iam::{principal.name.split(':')[4]}:root"
    return any(name.endswith(root) for name in _texts(named.get("AWS", [])))


def _meets(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    """Whether the call's keys meet all conditions."""
    present = {key.lower(): value for key, value in context.items()}
    return all(
        _meets_one(operator, _texts(values), present.get(key.lower()))
        for operator, keys in conditions.items()
        for key, values in keys.items()
    )


def _meets_one(operator: str, values: list[str], actual: str | None) -> bool:
    if any("${" in value for value in values):
        raise UnsupportedPolicyError(f"a variable in {values}")
    if operator == "Null":
        return all((actual is None) == (value == "true") for value in values)
    if operator.startswith("ForAnyValue:"):
        return actual is not None and _meets_one(operator.partition(":")[2], values, actual)
    base = operator.removesuffix("IfExists")
    if base in _NEGATIONS:  # true for a key that the call does not have
        equals = _OPERATORS[_NEGATIONS[base]]
        return actual is None or not any(equals(value, actual) for value in values)
    if base not in _OPERATORS:
        raise UnsupportedPolicyError(f"the operator {operator}")
    if actual is None:
        return base != operator
    return any(_OPERATORS[base](value, actual) for value in values)


def _like(pattern: str, text: str) -> bool:
    return _expression(pattern).fullmatch(text) is not None


@cache
def _expression(pattern: str) -> re.Pattern[str]:
    parts = (".*" if part == "*" else "." if part == "?" else re.escape(part) for part in pattern)
    return re.compile("".join(parts), re.DOTALL)


_OPERATORS: Mapping[str, Callable[[str, str], bool]] = {
    "StringEquals": str.__eq__,
    "StringLike": _like,
    "ArnEquals": _matches_resource,  # as ArnLike
    "ArnLike": _matches_resource,
    "Bool": lambda value, actual: value.lower() == actual.lower(),
}

_NEGATIONS = {
    "StringNotEquals": "StringEquals",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


def _texts(value: str | Iterable[str]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
