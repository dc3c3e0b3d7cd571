"""What each function's role may do, with permissions checked."""

from collections.abc import Callable
from typing import Any

import pytest
from aws_inventory import objects
from aws_platform import PASSWORD, Platform
from botocore.exceptions import ClientError

pytestmark = pytest.mark.usefixtures("first_calls")

MANIFEST = "batches/000000000001.json"
DENIED = {"AccessDenied", "403"}


def attempt(action: Callable[..., object], **arguments: Any) -> str:
    """Return `done`, or the error code."""
    try:
        action(**arguments)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "done"


def test_each_stage_works_with_the_permissions_of_its_role(platform: Platform) -> None:
    functions = platform.functions
    for stage in functions.roles:
        functions.tick(stage)  # caches its login: moto can't check the permission to read that
    order, units = 11, 100
    platform.change_order(order, units)
    platform.narrate("iam", "from here on checks the permissions of each role")
    with platform.moto.permissions_checked():
        calls = functions.run_stages()
        assert platform.loaded_units(order) == units
    assert not [line for call in calls for line in call.response.log if PASSWORD in line]


def test_an_existing_manifest_can_not_be_created_again(platform: Platform) -> None:
    bucket = platform.outputs["ingestion_bucket"]
    before = objects(platform.moto, bucket)
    with platform.moto.permissions_checked():
        store = platform.moto.client("s3", platform.functions.roles["ingest"])
        result = attempt(store.put_object, Bucket=bucket, Key=MANIFEST, Body=b"{}", IfNoneMatch="*")
    platform.narrate("iam", f"ingest creates a manifest again: {result}")
    assert result == "PreconditionFailed"
    assert objects(platform.moto, bucket) == before


def test_no_stage_can_change_or_delete_in_the_ingestion_store(platform: Platform) -> None:
    moto, roles = platform.moto, platform.functions.roles
    bucket = platform.outputs["ingestion_bucket"]
    before = objects(moto, bucket)
    [version] = [key.split(" ")[1] for key in before if key.startswith(f"{bucket}/{MANIFEST} ")]
    manifest = {"Bucket": bucket, "Key": MANIFEST}
    new = {"Bucket": bucket, "Key": "batches/000000009999.json"}
    denials = platform.set_bucket_denials(bucket, with_conditions=True)
    platform.narrate("iam", f"the bucket also denies: {', '.join(denials)}")
    try:
        with moto.permissions_checked():
            ingest, transform = (
                moto.client("s3", roles["ingest"]),
                moto.client("s3", roles["transform"]),
            )
            secrets = moto.client("secretsmanager", roles["transform"])
            results = {
                "ingest reads a manifest": attempt(ingest.get_object, **manifest),
                "ingest overwrites it": attempt(ingest.put_object, **manifest, Body=b"{}"),
                "ingest deletes it": attempt(ingest.delete_object, **manifest),
                "ingest deletes its version": attempt(
                    ingest.delete_object, **manifest, VersionId=version
                ),
                "transform creates one": attempt(
                    transform.put_object, **new, Body=b"{}", IfNoneMatch="*"
                ),
                "transform reads the source's login": attempt(
                    secrets.get_secret_value, SecretId=platform.outputs["source_secret"]
                ),
            }
    finally:
        platform.set_bucket_denials(bucket, with_conditions=False)
    for action, result in results.items():
        platform.narrate("iam", f"{action}: {result}")
    assert results.pop("ingest reads a manifest") == "done"
    assert set(results.values()) <= DENIED
    assert objects(moto, bucket) == before
