"""After a deployment: call each stage once, in their order, and read back what it says.

A stage that fails ends it with 1, with Lambda's own word for what went wrong. Nothing is made for
the occasion: a call does what is pending, as any other does.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("ingest", "transform", "load")
PATIENCE = Config(read_timeout=930, retries={"total_max_attempts": 1})
"""A call may take 15 minutes, and none is repeated behind our back."""


class SmokeFailed(Exception):
    """What a stage answered instead."""


def smoke(client: Any, function: str, stage: str) -> Mapping[str, Any]:
    """What the stage says it did; SmokeFailed where it didn't do it."""
    answer = client.invoke(FunctionName=function, Payload=b"{}")
    said = answer["Payload"].read().decode(errors="replace")
    if "FunctionError" in answer:
        raise SmokeFailed(f"{function} failed: {said}")
    try:
        told = json.loads(said)
    except ValueError:
        told = None
    if not isinstance(told, dict) or told.get("stage") != stage:
        raise SmokeFailed(f"{function} gave no account of stage {stage}: {said}")
    return told


def deployed() -> Mapping[str, str]:
    """The functions of the environment that terraform/ was last initialised for."""
    command = ["terraform", f"-chdir={ROOT / 'terraform'}", "output", "-json", "functions"]
    functions: dict[str, str] = json.loads(subprocess.check_output(command))
    return functions


def main() -> int:
    functions, client = deployed(), boto3.client("lambda", config=PATIENCE)
    for stage in STAGES:
        try:
            print(f"{functions[stage]}: {json.dumps(smoke(client, functions[stage], stage))}")
        except SmokeFailed as failed:
            print(failed)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
