"""The evaluator of policies decides as AWS's documentation says.

The sections are those of the IAM user guide.
"""

import pytest
from iam_evaluator import Call, Principal, Statement, UnsupportedPolicyError, decide

ROLE = "arn:aws:iam::111122223333:role/app"
ROOT = "arn:aws:iam::111122223333:root"
BUCKET = "arn:aws:s3:::amzn-example"
KEY = "arn:aws:kms:us-east-1:111122223333:key/1234"


def allow(action: str, resource: str = "*", **more: object) -> Statement:
    return {"Effect": "Allow", "Action": action, "Resource": resource, **more}


def deny(action: str, resource: str = "*", **more: object) -> Statement:
    return {**allow(action, resource, **more), "Effect": "Deny"}


def allows(*policies: Statement, call: Call, **more: list[Statement]) -> bool:
    principal = Principal("AWS", ROLE, policies, more.get("boundary"))
    return decide(principal, call, more.get("resource_policy")).allowed


READ = Call("s3:GetObject", f"{BUCKET}/a/b")


def test_policy_evaluation_logic_denies_what_nothing_allows() -> None:
    assert not allows(call=READ)
    assert allows(allow("s3:GetObject"), call=READ)
    assert not allows(allow("s3:PutObject"), call=READ)


def test_policy_evaluation_logic_an_explicit_deny_overrides_any_allow() -> None:
    assert not allows(allow("s3:*"), deny("s3:Get*"), call=READ)
    about_all = deny("s3:GetObject", Principal="*")
    assert not allows(allow("s3:*"), call=READ, resource_policy=[about_all])
    assert not allows(allow("s3:*"), call=READ, boundary=[allow("*"), deny("s3:GetObject")])


def test_policies_of_a_resource_may_allow_alone_within_an_account() -> None:
    named = allow("s3:GetObject", Principal={"AWS": ROLE})
    other = allow("s3:GetObject", Principal={"AWS": f"{ROLE}2"})
    assert allows(call=READ, resource_policy=[named])
    assert not allows(call=READ, resource_policy=[other])


def test_permissions_boundaries_limit_and_grant_nothing() -> None:
    assert not allows(call=READ, boundary=[allow("s3:*")])
    assert not allows(allow("s3:*"), call=READ, boundary=[allow("ec2:*")])
    assert allows(allow("s3:*"), call=READ, boundary=[allow("s3:GetObject")])
    named = allow("s3:GetObject", Principal={"AWS": ROLE})
    assert not allows(call=READ, resource_policy=[named], boundary=[allow("ec2:*")])


def test_key_policies_must_allow_or_name_the_account() -> None:
    """KMS' developer guide, "Key policies": without the account, IAM policies have no effect."""
    use = Call("kms:Decrypt", KEY)
    account = allow("kms:*", Principal={"AWS": ROOT})
    assert not allows(allow("kms:*"), call=use, resource_policy=[])
    assert allows(allow("kms:*"), call=use, resource_policy=[account])
    assert not allows(call=use, resource_policy=[account])
    assert allows(call=use, resource_policy=[allow("kms:Decrypt", Principal={"AWS": ROLE})])


def test_a_service_is_allowed_by_the_resources_policy_alone() -> None:
    service = Principal("Service", "events.amazonaws.com")
    policy = [allow("sqs:SendMessage", Principal={"Service": ["events.amazonaws.com"]})]
    call = Call("sqs:SendMessage", "arn:aws:sqs:us-east-1:111122223333:queue")
    assert decide(service, call, policy).allowed
    assert not decide(Principal("Service", "sns.amazonaws.com"), call, policy).allowed
    assert not decide(service, call, [allow("sqs:*", Principal={"AWS": ROOT})]).allowed


@pytest.mark.parametrize(
    ("pattern", "resource", "matches"),
    [
        ("*", "*", True),
        (f"{BUCKET}/*", f"{BUCKET}/a/b", True),
        (f"{BUCKET}/*", BUCKET, False),
        (f"{BUCKET}", f"{BUCKET}/a", False),
        (f"{BUCKET}/a/?", f"{BUCKET}/a/b", True),
        (f"{BUCKET}/a/?", f"{BUCKET}/a/bc", False),
        (f"{BUCKET}/a.*", f"{BUCKET}/abc", False),
        ("arn:aws:logs:*:1:log-group:g:*", "arn:aws:logs:eu-west-1:1:log-group:g:s:t", True),
        ("arn:aws:logs:*:2:log-group:g", "arn:aws:logs:eu:2:x:2:log-group:g", False),
    ],
)
def test_json_policy_elements_resource(pattern: str, resource: str, *, matches: bool) -> None:
    assert allows(allow("a:B", pattern), call=Call("a:B", resource)) is matches
    all_others = {"Effect": "Allow", "Action": "a:B", "NotResource": pattern}
    assert allows(all_others, call=Call("a:B", resource)) is not matches


def test_json_policy_elements_action() -> None:
    call = Call("iam:ListAccessKeys")
    for pattern in ("iam:*AccessKey*", "IAM:listaccesskeys", "*", "iam:List?ccessKeys"):
        assert allows(allow(pattern), call=call), pattern
    assert not allows(allow("iam:List"), call=call)
    assert not allows({"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"}, call=call)
    assert allows({"Effect": "Allow", "NotAction": "s3:*", "Resource": "*"}, call=call)


@pytest.mark.parametrize(
    ("condition", "met_by", "not_met_by"),
    [
        ({"StringEquals": {"k": ["a", "b"]}}, ["a", "b"], ["A", "ab", None]),
        ({"StringNotEquals": {"k": ["a", "b"]}}, ["c", None], ["a", "b"]),
        ({"StringLike": {"k": "a*"}}, ["a", "abc"], ["ba", None]),
        ({"StringNotLike": {"k": "a*"}}, ["b", None], ["a"]),
        ({"StringEqualsIfExists": {"k": "a"}}, ["a", None], ["b"]),
        ({"Bool": {"k": "true"}}, ["true", "True"], ["false", None]),
        ({"Bool": {"k": "false"}}, ["false"], ["true", None]),
        ({"Null": {"k": "true"}}, [None], ["a"]),
        ({"Null": {"k": "false"}}, ["a"], [None]),
        ({"ArnEquals": {"k": "arn:aws:s3:::b*"}}, ["arn:aws:s3:::bc"], ["arn:aws:s3:::c", None]),
        ({"ArnLike": {"k": "arn:aws:*:::b"}}, ["arn:aws:s3:::b"], ["arn:aws:s3:eu:1:b"]),
        ({"ArnNotEquals": {"k": BUCKET}}, ["arn:aws:s3:::c", None], [BUCKET]),
        ({"ForAnyValue:StringNotLike": {"k": "a*"}}, ["b"], ["ab", None]),
        ({"StringEquals": {"K": "a"}, "Bool": {"j": "true"}}, [], ["a", None]),
    ],
)
def test_json_policy_elements_condition_operators(
    condition: object, met_by: list[str | None], not_met_by: list[str | None]
) -> None:
    for value in (*met_by, *not_met_by):
        call = Call("a:B", "*", {} if value is None else {"k": value})
        assert allows(allow("a:B", Condition=condition), call=call) is (value in met_by), value


@pytest.mark.parametrize(
    "statement",
    [
        allow("a:B", Condition={"NumericLessThan": {"k": "1"}}),
        allow("a:B", Condition={"ForAllValues:StringEquals": {"k": "1"}}),
        allow("a:B", Condition={"StringEquals": {"k": "${aws:username}"}}),
        allow("a:B", NotPrincipal="*"),
        allow("a:B", "arn:aws:rds:*:111122223333:*:name"),
    ],
)
def test_an_unknown_element_is_refused(statement: Statement) -> None:
    with pytest.raises(UnsupportedPolicyError):
        allows(statement, call=Call("a:B", "*", {"k": "1"}))


def test_a_decision_names_what_decided() -> None:
    principal = Principal("AWS", ROLE, [allow("s3:*"), deny("s3:*", Sid="DenyAll")])
    assert decide(principal, READ).reason == "denied by DenyAll"
    assert str(Call("a:B", "x", {"k": "v"})) == "a:B x k=v"
