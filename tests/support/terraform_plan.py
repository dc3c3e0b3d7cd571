"""What Terraform would create: the platform with all of its options, and bootstrap/.

Planned once for all tests, by the real provider, against a simulated account without resources.
"""

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moto_server import Moto
from terraform_cli import ROOT, Terraform

ENVIRONMENT = "longestnames"
"""As long as an environment's name may be, as names of AWS have a maximum length."""

REGION = "ap-southeast-2"
"""As long as the names of regions are."""

ACCOUNT = "123456789012"

OTHER_ENVIRONMENT = "other"
"""A second environment of the same account, which bootstrap/ also knows."""

PLATFORM_VARIABLES: Mapping[str, object] = {
    "environment": ENVIRONMENT,
    "region": REGION,
    "alarm_email": "alarms@example.com",
    "bounded": True,
    "operator_enabled": True,
    "source_instance": {"identifier": "totesys", "major_version": "16"},
    "warehouse_clients": ["10.9.0.0/16"],
    "capture": "log",
    "monthly_budget_usd": 200,
    "object_lock": {"days": 30},
    "image_tag": "0123abc",
    "spark_enabled": True,
    "iceberg_enabled": True,
    "dashboard": {
        "domain": "totes.example",
        "certificate_arn": f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/one",
        "clients": ["203.0.113.0/24"],
        "sign_in": {
            "oidc": {
                "issuer": "https://provider.example",
                "authorization_endpoint": "https://provider.example/authorize",
                "token_endpoint": "https://provider.example/token",
                "user_info_endpoint": "https://provider.example/userinfo",
                "client_id": "totes",
            }
        },
    },
}
"""Variables of the platform that switch everything on."""

FILES = {"bundle": "./versions.tf", "spark_package": "./versions.tf"}
"""Any files."""

BY_NAT = {"source_access": "nat", "source_address": "203.0.113.7/32"}

BY_PEERING = {
    "source_access": "peering",
    "source_address": "10.1.2.0/24",
    "source_vpc": {"id": "vpc-0123456789abcdef0", "cidr": "10.1.0.0/16"},
}

BOOTSTRAP_VARIABLES: Mapping[str, object] = {
    "region": REGION,
    "environments": [ENVIRONMENT, OTHER_ENVIRONMENT],
    "github_repository": "somebody/totes",
}
"""Variables of bootstrap/."""

CATALOGUE_VARIABLES: Mapping[str, object] = {
    "environment": "dev",
    "ingestion_bucket": "the-ingestion",
    "processed_bucket": "the-processed",
    "results_bucket": "the-results",
    "kms_key_arn": f"arn:aws:kms:{REGION}:{ACCOUNT}:key/00000000-0000-0000-0000-000000000000",
    "generations": 3,
}
"""Variables of a catalogue by itself, whose names of buckets are known."""

ARNS = {
    "aws_athena_workgroup": "athena:REGION:ACCOUNT:workgroup/{name}",
    "aws_cloudwatch_composite_alarm": "cloudwatch:REGION:ACCOUNT:alarm:{alarm_name}",
    "aws_cloudwatch_event_rule": "events:REGION:ACCOUNT:rule/{name}",
    "aws_cloudwatch_log_group": "logs:REGION:ACCOUNT:log-group:{name}",
    "aws_cloudwatch_metric_alarm": "cloudwatch:REGION:ACCOUNT:alarm:{alarm_name}",
    "aws_db_instance": "rds:REGION:ACCOUNT:db:{identifier}",
    "aws_ecr_repository": "ecr:REGION:ACCOUNT:repository/{name}",
    "aws_ecs_cluster": "ecs:REGION:ACCOUNT:cluster/{name}",
    "aws_ecs_task_definition": "ecs:REGION:ACCOUNT:task-definition/{family}:1",
    "aws_emrserverless_application": "emr-serverless:REGION:ACCOUNT:/applications/00f1abcdefghij",
    "aws_iam_policy": "iam::ACCOUNT:policy/{name}",
    "aws_iam_role": "iam::ACCOUNT:role/{name}",
    "aws_kms_key": "kms:REGION:ACCOUNT:key/{key}",
    "aws_lambda_function": "lambda:REGION:ACCOUNT:function:{function_name}",
    "aws_s3_bucket": "s3:::{bucket}",
    "aws_secretsmanager_secret": "secretsmanager:REGION:ACCOUNT:secret:{name}-AbCdEf",
    "aws_sns_topic": "sns:REGION:ACCOUNT:{name}",
}
"""ARN by type of resource, of the types whose ARNs others need, with names of attributes.

`key` is the last part of the address, such as data of `aws_kms_key.this["data"]`.
"""

MORE_ATTRIBUTES: Mapping[str, Mapping[str, object]] = {
    "aws_ecs_task_definition": {
        "arn_without_revision": f"arn:aws:ecs:{REGION}:{ACCOUNT}:task-definition/{{family}}"
    },
    "aws_db_instance": {
        "master_user_secret": [
            {"secret_arn": f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:rds!db-1234-AbCdEf"}
        ]
    },
}
"""More attributes by type of resource, as ARNS."""

IDS = {"aws_iam_role": "{name}", "aws_s3_bucket": "{bucket}"}
"""Id by type of resource, where it is not random."""


_PLACEHOLDERS = (
    ("ACCOUNT", ACCOUNT),
    ("REGION", REGION),
    ("ENV", ENVIRONMENT),
    ("OTHER", OTHER_ENVIRONMENT),
)

_PLAN = """
run "both" {
  command = plan

  plan_options {
    refresh = false
  }
}
"""

_MOCKS = f"""
mock_provider "aws" {{
  source          = "./tests/mocks"
  override_during = plan

  mock_data "aws_caller_identity" {{
    defaults = {{ account_id = "{ACCOUNT}" }}
  }}

  mock_data "aws_region" {{
    defaults = {{ name = "{REGION}" }}
  }}
}}
"""


@dataclass(frozen=True)
class Resource:
    """A resource with its address and attributes.

    The address begins with the module: `platform`, `bootstrap` or `catalogue`.
    """

    address: str
    type: str
    values: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The last part of the address: the key of an instance, else the name."""
        found = re.search(r'\["(.+?)"\]$', self.address)
        return found[1] if found else self.address.rpartition(".")[2]


@dataclass(frozen=True)
class Planned:
    """What Terraform would create."""

    resources: tuple[Resource, ...]
    """All resources with the attributes that are known before an apply; totesys by NAT.

    `tags_all` has the provider's default tags, too.
    """
    created: tuple[Resource, ...]
    """All resources with all attributes, as after an apply; totesys by peering.

    Terraform simulates the provider: attributes that AWS determines are random or None, but for the
    ARNs and ids that other resources refer to.
    """
    catalogue: tuple[Resource, ...]
    """The resources of a catalogue by itself, by the real provider."""


def merged(first: Iterable[Resource], second: Iterable[Resource]) -> list[Resource]:
    """Return all resources; those in both with the attributes of the first."""
    return [*{one.address: one for one in (*second, *first)}.values()]


def in_plan(text: str) -> str:
    """Return a text with the planned account, region and environments for their placeholders."""
    for placeholder, name in _PLACEHOLDERS:
        text = text.replace(placeholder, name)
    return text


def plan_everything(folder: Path) -> Planned:
    """Plan twice; `folder` must be empty and takes a copy of Terraform's code."""
    code = folder / "code"
    excluded = shutil.ignore_patterns(".terraform*", "demo", "*.tfstate*")
    shutil.copytree(ROOT / "terraform", code, ignore=excluded)
    planned = tuple(_plan(folder))
    catalogue = tuple(one for one in planned if one.address.startswith("catalogue."))
    resources = tuple(one for one in planned if not one.address.startswith("catalogue."))
    return Planned(resources, tuple(_simulate(code, resources)), catalogue)


def _plan(folder: Path) -> Iterable[Resource]:
    """Yield the resources of a plan by the real provider, in an account without any."""
    files = dict.fromkeys(FILES, f"{folder}/code/versions.tf")
    modules = {
        "platform": {"source": "./code", **files, **PLATFORM_VARIABLES, **BY_NAT},
        "bootstrap": {"source": "./code/bootstrap", **BOOTSTRAP_VARIABLES},
        "catalogue": {"source": "./code/modules/catalogue", **CATALOGUE_VARIABLES},
    }
    (folder / "both.tf.json").write_text(json.dumps({"module": modules}))
    (folder / "plan.tftest.hcl").write_text(_PLAN)
    with Moto(folder) as moto:
        terraform = Terraform(folder, moto.environment())
        terraform.init("-test-directory=.")
        [(_, plan)] = _plans_of_tests(terraform)
    yield from _changed("", plan)


def _simulate(code: Path, resources: Iterable[Resource]) -> Iterable[Resource]:
    """Yield the resources of a plan by a simulated provider, with ARNs for what is planned.

    Terraform simulates a plan in a third of the time of an apply.
    """
    (code / "both.tftest.hcl").write_text("\n".join(_simulation(resources)))
    terraform = Terraform(code)
    terraform.init("-backend=false", "-test-directory=.")
    for name, plan in _plans_of_tests(terraform):
        yield from _changed(f"{name}.", plan)


def _plans_of_tests(terraform: Terraform) -> Iterable[tuple[str, Mapping[str, Any]]]:
    """Run the tests in the folder; yield name and plan of each.

    A test prints its plan, which a stored plan needs a further command for.
    """
    for line in terraform("test", "-test-directory=.", "-json", "-verbose").splitlines():
        message = json.loads(line)
        if plan := message.get("test_plan"):
            yield message["@testrun"], plan


def _changed(prefix: str, plan: Mapping[str, Any]) -> Iterable[Resource]:
    """Yield the resources that a plan creates; `prefix` stands before their addresses."""
    for change in plan["resource_changes"]:
        after = change["change"]["after"]
        if after is not None and change["mode"] == "managed":
            address = f"{prefix}{change['address']}".removeprefix("module.")
            yield Resource(address, change["type"], after)


def _simulation(resources: Iterable[Resource]) -> Iterable[str]:
    """Yield a test of Terraform that creates both."""
    yield _MOCKS
    for name, variables in (
        ("platform", {**FILES, **PLATFORM_VARIABLES, **BY_PEERING}),
        ("bootstrap", BOOTSTRAP_VARIABLES),
    ):
        yield f'run "{name}" {{\n  command = plan'
        if name == "bootstrap":
            yield '  module {\n    source = "./bootstrap"\n  }'
        yield "  variables {"
        yield from (f"    {key} = {json.dumps(value)}" for key, value in variables.items())
        yield "  }"
        for resource in resources:
            module, _, address = resource.address.partition(".")
            if module == name and resource.type in ARNS:
                values = json.dumps(_simulated(resource))
                yield f"  override_resource {{\n    target = {address}\n    values = {values}"
                yield "    override_during = plan\n  }"
        yield "}"


def _simulated(resource: Resource) -> dict[str, object]:
    attributes = {**resource.values, "key": resource.key}
    arn = in_plan(f"arn:aws:{ARNS[resource.type]}")
    simulated: dict[str, object] = {"arn": arn.format_map(attributes)}
    for name, value in MORE_ATTRIBUTES.get(resource.type, {}).items():
        simulated[name] = value.format_map(attributes) if isinstance(value, str) else value
    if resource.type in IDS:
        simulated["id"] = IDS[resource.type].format_map(attributes)
    return simulated
