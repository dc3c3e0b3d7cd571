"""Call each deployed stage once, in order, and check its response.

If a stage fails, or its database is unavailable, this prints why and exits with 1. The calls
process pending batches like all others; they create no test data.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from botocore.config import Config
from terraform_outputs import output

from totes.aws_client import AWS_ERRORS, aws_client, describe

STAGES = ("ingest", "transform", "load")
CLIENT_CONFIG = Config(read_timeout=930, retries={"total_max_attempts": 1})
"""Waits up to 15 minutes for a response, and does not retry a call."""


class SmokeFailed(Exception):
    """A stage failed, or its response is not a stage's."""


def smoke(client: Any, function: str, stage: str) -> Mapping[str, Any]:
    """Return the response of a stage's function; SmokeFailed if it failed."""
    response = client.invoke(FunctionName=function, Payload=b"{}")
    text = response["Payload"].read().decode(errors="replace")
    if "FunctionError" in response:
        raise SmokeFailed(f"{function} failed: {text}")
    try:
        result = json.loads(text)
    except ValueError:
        result = None
    if not isinstance(result, dict) or result.get("stage") != stage:
        raise SmokeFailed(f"{function} returned no result of stage {stage}: {text}")
    if part := result.get("unavailable"):
        raise SmokeFailed(f"{function} could do nothing, the {part} is unavailable: see its log.")
    return result


def main() -> int:
    functions = output("functions")
    try:
        client = aws_client("lambda", config=CLIENT_CONFIG)
        for stage in STAGES:
            print(f"{functions[stage]}: {json.dumps(smoke(client, functions[stage], stage))}")
    except SmokeFailed as failed:
        print(failed)
        return 1
    except AWS_ERRORS as error:
        print(f"The functions can't be called: {describe(error)}.")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
