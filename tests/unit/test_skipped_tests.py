"""With SKIPS_FAIL=1 a skipped test fails, so that CI notices a tool that is missing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

SKIPPED = """
import pytest

@pytest.mark.skip(reason="no browser")
def test_marked():
    pass

@pytest.fixture
def browser():
    pytest.skip("no browser")

def test_fixture(browser):
    pass

def test_allowed():
    pytest.skip("this user may not mount a file system")

@pytest.mark.xfail
def test_expected_failure():
    assert False
"""


@pytest.mark.parametrize(
    ("setting", "outcomes"),
    [("1", "1 skipped, 1 xfailed, 2 errors"), ("", "3 skipped, 1 xfailed")],
)
def test_a_skip_fails_where_tools_are_required_unless_its_reason_is_allowed(
    tmp_path: Path, setting: str, outcomes: str
) -> None:
    (tmp_path / "test_skipped.py").write_text(SKIPPED)
    options = ["-q", "-c", "/dev/null", "-p", "skipped_tests", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--rootdir={tmp_path}", str(tmp_path)],
        env=os.environ
        | {
            "SKIPS_FAIL": setting,
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # halves the time
            "PYTHONPATH": str(ROOT / "tests" / "support"),
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert outcomes in done.stdout
    assert ("lacks: no browser" in done.stdout) == (setting == "1")
