"""One deployment to moto for all tests of this folder.

What moto can't show (alarms that fire, e-mail, schedules that tick, RDS) is checked in the plan by
terraform/tests, and docs/operations.md lists it as untested.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from aws_platform import Platform, deployed_platform
from lambda_functions import Call
from narration import narrate
from terraform_cli import MissingToolError, find_provider, provider_version, terraform_program

import bundle


def pytest_itemcollected(item: pytest.Item) -> None:
    """The first test waits for the deployment."""
    item.add_marker(pytest.mark.timeout(900))


@pytest.fixture(scope="session")
def platform(scratch: Path) -> Iterator[Platform]:
    """The deployed platform; its functions have not been called yet."""
    if sys.version_info[:2] != bundle.PYTHON:
        pytest.skip(f"Lambda's Python is {bundle.PYTHON}, this is another version")
    try:
        terraform_program()
        find_provider(provider_version())
    except MissingToolError as missing:
        pytest.skip(str(missing))
    with deployed_platform(scratch / "aws", narrate) as platform:
        yield platform


@pytest.fixture(scope="session")
def first_calls(platform: Platform) -> list[Call]:
    """The calls that load the first batch: one tick of ingest's schedule, then events."""
    return platform.functions.run_stages()
