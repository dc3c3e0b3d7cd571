"""The tool that gives the dashboard's load balancer the client secret of its provider."""

import json
from collections.abc import Mapping
from typing import Any

import oidc_client_secret
import pytest
from moto_server import Moto

PLACEHOLDER = "set by make oidc-client-secret"

FROM_PROVIDER = "from the provider"

pytestmark = pytest.mark.usefixtures("as_operator")


@pytest.fixture(scope="module")
def deployed(moto: Moto) -> Mapping[str, str]:
    """The output of Terraform, of a load balancer as modules/dashboard makes it."""
    balancing, ec2 = moto.client("elbv2"), moto.client("ec2")
    subnets = [one["SubnetId"] for one in ec2.describe_subnets()["Subnets"]]
    balancers = balancing.create_load_balancer(Name="totes-dev", Subnets=subnets)["LoadBalancers"]
    groups = balancing.create_target_group(
        Name="totes-dev",
        Protocol="HTTP",
        Port=8501,
        VpcId=ec2.describe_vpcs()["Vpcs"][0]["VpcId"],
        TargetType="ip",
    )["TargetGroups"]
    certificate = moto.client("acm").request_certificate(DomainName="totes.example")
    sign_in = {
        "Issuer": "https://provider.example",
        "AuthorizationEndpoint": "https://provider.example/authorize",
        "TokenEndpoint": "https://provider.example/token",
        "UserInfoEndpoint": "https://provider.example/userinfo",
        "ClientId": "client",
        "ClientSecret": PLACEHOLDER,
    }
    listeners = balancing.create_listener(
        LoadBalancerArn=balancers[0]["LoadBalancerArn"],
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": certificate["CertificateArn"]}],
        DefaultActions=[
            {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": sign_in},
            {"Type": "forward", "Order": 2, "TargetGroupArn": groups[0]["TargetGroupArn"]},
        ],
    )["Listeners"]
    secret = moto.client("secretsmanager").create_secret(Name="totes-dev/oidc-client")
    return {"listener": listeners[0]["ListenerArn"], "client_secret": secret["ARN"]}


@pytest.fixture(autouse=True)
def deployed_here(deployed: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc_client_secret, "output", lambda _: deployed)


def actions(moto: Moto, deployed: Mapping[str, str]) -> list[dict[str, Any]]:
    arns = [deployed["listener"]]
    [found] = moto.client("elbv2").describe_listeners(ListenerArns=arns)["Listeners"]
    described: list[dict[str, Any]] = found["DefaultActions"]
    return described


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "has no value yet"),
        (FROM_PROVIDER, "is not a JSON object"),
        (json.dumps({"secret": FROM_PROVIDER}), "has no client_secret"),
    ],
)
def test_a_secret_without_a_client_secret_changes_nothing(
    moto: Moto, deployed: Mapping[str, str], text: str | None, reason: str
) -> None:
    before = actions(moto, deployed)
    if text is not None:
        moto.client("secretsmanager").put_secret_value(
            SecretId=deployed["client_secret"], SecretString=text
        )
    said = oidc_client_secret.main()
    assert said is not None
    assert reason in said
    assert FROM_PROVIDER not in said
    assert actions(moto, deployed) == before


def test_the_client_secret_replaces_the_placeholder_and_nothing_else(
    moto: Moto, deployed: Mapping[str, str]
) -> None:
    """AWS does not return the client secret, moto does."""
    expected = actions(moto, deployed)
    expected[0]["AuthenticateOidcConfig"]["ClientSecret"] = FROM_PROVIDER
    moto.client("secretsmanager").put_secret_value(
        SecretId=deployed["client_secret"],
        SecretString=json.dumps({"client_secret": FROM_PROVIDER}),
    )
    assert oidc_client_secret.main() is None
    assert actions(moto, deployed) == expected


@pytest.mark.parametrize("dashboard", [None, {"listener": "one", "client_secret": None}])
def test_without_openid_connect_there_is_nothing_to_set(
    monkeypatch: pytest.MonkeyPatch, dashboard: object
) -> None:
    monkeypatch.setattr(oidc_client_secret, "output", lambda _: dashboard)
    assert "no dashboard whose users sign in by OpenID Connect" in str(oidc_client_secret.main())
