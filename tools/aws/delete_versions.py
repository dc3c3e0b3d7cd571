"""Delete objects of a bucket of the lake for ever: all their versions and delete markers.

Only the removal role may do it. A run that was interrupted can be repeated.
"""

import argparse
import sys
from collections.abc import Iterator
from itertools import batched
from typing import Any

from totes.aws_client import AWS_ERRORS, aws_client, describe

MAX_KEYS = 1000
"""The most versions that S3 deletes in one request."""


def find_versions(s3: Any, bucket: str, below: str, keep: str | None) -> Iterator[dict[str, str]]:
    """Yield key and ID of each version below a prefix, but of none below the prefix `keep`."""
    pages = s3.get_paginator("list_object_versions").paginate(Bucket=bucket, Prefix=below)
    for page in pages:
        for found in page.get("Versions", []) + page.get("DeleteMarkers", []):
            if keep is None or not found["Key"].startswith(keep):
                yield {"Key": found["Key"], "VersionId": found["VersionId"]}


def delete_versions(
    s3: Any, bucket: str, below: str = "", keep: str | None = None, *, bypass: bool = False
) -> int:
    """Delete these versions and return their number; SystemExit if S3 keeps one.

    `bypass` deletes versions that Object Lock keeps in mode GOVERNANCE.
    """
    options = {"BypassGovernanceRetention": True} if bypass else {}
    number = 0
    for versions in batched(find_versions(s3, bucket, below, keep), MAX_KEYS):
        answer = s3.delete_objects(
            Bucket=bucket, Delete={"Objects": list(versions), "Quiet": True}, **options
        )
        for error in answer.get("Errors", []):
            raise SystemExit(f"{error['Key']} can't be deleted: {error['Message']}")
        number += len(versions)
    return number


def main() -> str | None:
    """Return what is wrong, or None."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bucket")
    parser.add_argument("--below", default="", metavar="PREFIX", help="delete only what is below")
    parser.add_argument("--keep", metavar="PREFIX", help="delete nothing that is below")
    parser.add_argument(
        "--bypass-governance-retention",
        dest="bypass",
        action="store_true",
        help="also delete what object_lock keeps in mode GOVERNANCE",
    )
    found = parser.parse_args()
    try:
        number = delete_versions(
            aws_client("s3"), found.bucket, found.below, found.keep, bypass=found.bypass
        )
    except AWS_ERRORS as error:
        return f"The objects can't be deleted: {describe(error)}."
    print(f"{number} versions of objects in {found.bucket} were deleted.")
    return None


if __name__ == "__main__":
    sys.exit(main())
