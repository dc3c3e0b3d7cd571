"""The `totes` command as a process, as tests start it."""

import sys

from installation import Installation

COMMAND = [sys.executable, "-m", "totes"]


def expect_error(installation: Installation, code: int, message: str, *arguments: str) -> None:
    """Assert that a command fails with one line and changes nothing."""
    before = installation.state()
    result = installation.totes(*(arguments or ("run", "--once")))
    assert result.exit_code == code, result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("totes: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in result.output
    assert installation.state() == before
