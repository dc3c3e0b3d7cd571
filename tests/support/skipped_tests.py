"""With SKIPS_FAIL=1 a skipped test fails, unless ALLOWED has the reason.

GitHub's workflows set it, because they install everything that tests are skipped without.
"""

import os
import re
from collections.abc import Generator

import pytest

ALLOWED = (
    r"publish_generated_columns is an option of PostgreSQL 18",  # runs on the embedded server
    r"the server has no plug-in test_decoding",  # runs on the older server
    r"this user may not mount a file system",
    r"make test-deep$",
)
"""Reasons of skips where every tool is installed, as regular expressions."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip that is not allowed into a failure."""
    report = yield
    if os.environ.get("SKIPS_FAIL") == "1" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        reason = reason.removeprefix("Skipped: ")
        if not any(re.search(allowed, reason) for allowed in ALLOWED):
            report.outcome = "failed"
            report.longrepr = f"SKIPS_FAIL=1, and tests/support/skipped_tests.py lacks: {reason}"
    return report
