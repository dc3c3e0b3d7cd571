"""The platform, deployed by Terraform to moto, between a totesys and a warehouse of its own.

The modules of terraform/ are applied by the real provider; the functions' real zip runs on AWS's
own Lambda runtime; totesys and warehouse are embedded PostgreSQL servers.
"""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from aws_inventory import inventory, objects
from lambda_functions import Call, Functions
from moto_server import REGION, Moto
from psycopg import sql
from terraform_cli import ROOT, Terraform, TerraformFailed

import bundle
from totes.demo.simulator import bulk
from totes.embedded.servers import (
    Source,
    Warehouse,
    prepare_source,
    prepare_warehouse,
    source_server,
    warehouse_server,
)

ORDERS = 1_000
PASSWORD = "choose-one"

VARIABLES = {
    "environment": "demo",
    "bounded": "false",  # terraform/bootstrap, which makes the boundary, is not applied
    "alarm_email": "alarms@example.com",
    "image_tag": "demo",
    "source_access": "none",
    "warehouse_enabled": "false",  # the provider waits minutes for RDS; terraform/tests cover it
    "force_destroy": "true",
    "secret_recovery_days": "0",
}
"""As in a variable file."""

OVERRIDES = "demo"
"""Folder in terraform/ that is copied over the modules; its comments give the reasons."""

PLAN = "stored.plan"
APPLY_PLAN = ("-input=false", "-no-color", "-parallelism=30", PLAN)
"""As a deployment from GitHub does: the plan that a person has approved is applied."""

STATE_BUCKET = "terraform-state"
"""As in terraform/demo."""

LOCATION: Any = {"LocationConstraint": REGION}

BUCKETS = ("ingestion_bucket", "processed_bucket")
"""Names of outputs."""

Narrate = Callable[[str, str], None]
"""Takes the name of a part of the system, and what happened there."""


@dataclass
class Platform:
    """The deployed platform with its AWS account, totesys and warehouse."""

    folder: Path
    moto: Moto
    terraform: Terraform
    source: Source
    warehouse: Warehouse
    narrate: Narrate
    foreign: frozenset[str]
    """The inventory of the account before the deployment."""
    arguments: tuple[str, ...]
    """Of Terraform's plan and destroy."""
    resources: tuple[str, ...] = ()
    outputs: Mapping[str, Any] = field(default_factory=dict)
    policies: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The policies of both stores' buckets, as Terraform created them."""
    calls: list[Call] = field(default_factory=list)
    """All calls of functions."""
    functions: Functions = field(init=False)

    def change_order(self, order: int, units: int) -> None:
        """Change an order in totesys without touching last_updated."""
        statement = "UPDATE sales_order SET units_sold = %s WHERE sales_order_id = %s"
        with psycopg.connect(self.source.owner.reveal()) as connection:
            connection.execute(statement, [units, order])
        self.narrate("totesys", f"sales order {order} is changed to {units:,} units")

    def administer_source(self, statement: str) -> None:
        """Run a statement in totesys as its superuser."""
        with psycopg.connect(self.source.superuser.reveal()) as connection:
            connection.execute(statement.encode())

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query in the warehouse."""
        with psycopg.connect(self.warehouse.superuser.reveal()) as connection:
            return connection.execute(statement.encode(), values).fetchall()

    def loaded_units(self, order: int) -> int:
        """Return the current units of an order in the warehouse."""
        statement = "SELECT units_sold FROM current_sales_order WHERE sales_order_id = %s"
        [(units,)] = self.query(statement, order)
        return int(units)

    def alarms(self) -> list[dict[str, Any]]:
        """Return CloudWatch's descriptions of all alarms."""
        found = self.moto.client("cloudwatch").describe_alarms()["MetricAlarms"]
        return list(found)

    def contents(self) -> dict[str, object]:
        """Return the ETag of each object of both stores and a digest of each warehouse table."""
        found: dict[str, object] = {}
        for bucket in BUCKETS:
            found |= objects(self.moto, self.outputs[bucket])
        tables = self.query(
            "SELECT nspname, relname FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace"
            " WHERE relkind = 'r' AND nspname IN ('public', 'totes')"
        )
        digest = sql.SQL("SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) FROM {} t")
        with psycopg.connect(self.warehouse.superuser.reveal()) as connection:
            for schema, table in tables:
                if table != "checks":  # has the time of the last check, which every call updates
                    name = sql.Identifier(schema, table)
                    found[f"{schema}.{table}"] = connection.execute(digest.format(name)).fetchone()
        return found

    def planned_changes(self) -> tuple[str, ...]:
        """Return the addresses of what a second apply would change, with the deployed policies."""
        store = self.moto.client("s3")
        for bucket, policy in self.policies.items():
            store.put_bucket_policy(Bucket=bucket, Policy=json.dumps(policy))
        try:
            return self.terraform.planned_changes(*self.arguments)
        finally:
            for bucket in self.policies:
                self.set_bucket_denials(bucket, with_conditions=False)

    def set_bucket_denials(self, bucket: str, *, with_conditions: bool) -> list[str]:
        """Set the denials of a bucket's policy that moto can evaluate, and return their ids.

        moto ignores conditions: it would deny every write for a denial with a condition.
        TlsOnly is always left out: moto has no TLS, and everything would be denied.
        """
        policy = self.policies[bucket]
        denials = [
            statement
            for statement in policy["Statement"]
            if statement["Sid"] != "TlsOnly" and (with_conditions or "Condition" not in statement)
        ]
        text = json.dumps(policy | {"Statement": denials})
        self.moto.client("s3").put_bucket_policy(Bucket=bucket, Policy=text)
        return [statement["Sid"] for statement in denials]

    def observe(self, call: Call) -> None:
        """Record a call of a function and narrate it."""
        self.calls.append(call)
        self.narrate(call.stage, str(call))


@contextmanager
def deployed_platform(folder: Path, narrate: Narrate) -> Iterator[Platform]:
    """Deploy the platform, between a totesys with 1,000 sales orders and an empty warehouse.

    `folder` must have a short path, for sockets.
    """
    with ExitStack() as stack:
        (folder / "sandboxes").mkdir(parents=True)
        threads = stack.enter_context(ThreadPoolExecutor())
        narrate("bundle", "builds the functions' zip, unless it is current")
        zipped = threads.submit(bundle.ready)
        moto = stack.enter_context(Moto(folder))
        narrate("aws", f"moto simulates AWS at {moto.endpoint}")
        moto.client("s3").create_bucket(Bucket=STATE_BUCKET, CreateBucketConfiguration=LOCATION)
        terraform = Terraform(_copy_code(folder / "terraform"), moto.environment())
        initialized = threads.submit(terraform.init)
        source = prepare_source(stack.enter_context(source_server(folder)).dsn)
        warehouse = prepare_warehouse(stack.enter_context(warehouse_server(folder)).dsn)
        bulk(source.owner, orders=ORDERS)
        narrate("totesys", f"has {ORDERS:,} sales orders; the warehouse is empty")
        code = zipped.result()
        narrate("bundle", f"{code.name}, {code.stat().st_size / 1e6:.0f} MB")
        variables = VARIABLES | {"bundle": str(code)}
        arguments = (
            *("-input=false", "-no-color", "-parallelism=30"),
            *(f"-var={name}={value}" for name, value in variables.items()),
        )
        platform = Platform(
            folder, moto, terraform, source, warehouse, narrate, inventory(moto), arguments
        )
        initialized.result()
        try:
            _deploy(platform, stack)
            yield platform
        except TerraformFailed as error:
            error.add_note(f"moto's log ends with: {moto.log[-2_000:]}")
            raise


def _deploy(platform: Platform, stack: ExitStack) -> None:
    """Apply the Terraform code, store the logins, and start the functions."""
    terraform, narrate = platform.terraform, platform.narrate
    modules = sum(path.is_dir() for path in (terraform.folder / "modules").iterdir())
    narrate("terraform", f"applies {modules} modules; this takes a minute")
    terraform("plan", f"-out={PLAN}", *platform.arguments)
    terraform("apply", *APPLY_PLAN)
    platform.outputs = terraform.outputs()
    platform.resources = terraform.resources()
    narrate("terraform", f"created {len(platform.resources)} resources")
    sandboxes = platform.folder / "sandboxes"
    platform.functions = stack.enter_context(
        Functions(platform.moto, platform.outputs, sandboxes, platform.observe)
    )
    _store_logins(platform)
    store = platform.moto.client("s3")
    for bucket in (platform.outputs[name] for name in BUCKETS):
        platform.policies[bucket] = json.loads(store.get_bucket_policy(Bucket=bucket)["Policy"])
        platform.set_bucket_denials(bucket, with_conditions=False)


def _store_logins(platform: Platform) -> None:
    """Store both databases' logins in Secrets Manager, as the runbook asks an operator to."""
    secrets = platform.moto.client("secretsmanager")
    for name, dsn in (("source", platform.source.reader), ("warehouse", platform.warehouse.loader)):
        login = {
            "host": dsn.parts["host"],
            "port": int(str(dsn.parts["port"])),
            "dbname": dsn.parts["dbname"],
            "username": dsn.parts["user"],
            "password": PASSWORD,
            "sslmode": "verify-full",
            "sslrootcert": "data/rds-ca.pem",
        }
        secrets.put_secret_value(
            SecretId=platform.outputs[f"{name}_secret"], SecretString=json.dumps(login)
        )
    platform.narrate("operator", "stores both logins in Secrets Manager")


def _copy_code(target: Path) -> Path:
    """Copy terraform/ without tests and bootstrap, with the demonstration's overrides."""
    excluded = shutil.ignore_patterns(".terraform*", "*.tfstate*", "tests", OVERRIDES, "bootstrap")
    shutil.copytree(ROOT / "terraform", target, ignore=excluded)
    shutil.copytree(ROOT / "terraform" / OVERRIDES, target, dirs_exist_ok=True)
    return target
