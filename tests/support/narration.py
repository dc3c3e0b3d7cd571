"""The narration of tests/aws/deployment: a pytest plugin for `make aws-demo`, and its lines.

With the plugin (`-p narration`) the lines of `narrate` are printed as they come, instead of
pytest's progress; without it, pytest shows them for a test that fails.
"""

import signal
import time
from types import FrameType

import pytest
from rich.console import Console
from rich.markup import escape

COLOURS = {
    "ingest": "cyan",
    "transform": "cyan",
    "load": "cyan",
    "event": "yellow",
    "iam": "magenta",
    "sns": "red",
    "cloudwatch": "red",
    "verify": "green",
    "warehouse": "green",
}
"""By part of the system; blue for the others."""

MISSING_TOOL = 2
"""Exit code if this machine lacks a program; 1 if an expectation fails."""

_began = time.monotonic()


def narrate(part: str, event: str) -> None:
    """Print the seconds since the start, a part of the system, and what happened there."""
    seconds = time.monotonic() - _began
    colour = COLOURS.get(part, "blue")
    console = Console(highlight=False)
    console.print(
        f"[dim]{seconds:6.1f} s[/]  [{colour}]{part:<10}[/]  {escape(event)}", soft_wrap=True
    )


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@pytest.hookimpl(trylast=True)  # the reporter must be there
def pytest_configure(config: pytest.Config) -> None:
    """Take the place of pytest's progress; end on SIGTERM as on Ctrl-C."""
    signal.signal(signal.SIGTERM, _interrupt)
    reporter = config.pluginmanager.getplugin("terminalreporter")
    config.pluginmanager.unregister(reporter)
    config.pluginmanager.register(_Narrator(), "narrator")


class _Narrator:
    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._missing = ""
        self._failed = False

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._fail(report.nodeid, report.longreprtext)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._fail(report.nodeid.split("::")[-1], report.longreprtext)
        elif report.skipped and isinstance(report.longrepr, tuple):
            self._missing = report.longrepr[2]

    def pytest_keyboard_interrupt(self) -> None:
        self._failed = True
        self._console.print("Interrupted; everything is removed.")

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._missing and not self._failed:
            self._console.print(f"[bold]Not possible here.[/] {escape(self._missing)}")
            session.exitstatus = MISSING_TOOL
        elif not self._failed:
            narrate("aws", "all expectations are met, and everything is removed")

    def _fail(self, name: str, description: str) -> None:
        self._failed = True
        self._console.print(f"[bold red]{escape(name)} fails:[/]", soft_wrap=True)
        self._console.print(escape(description), soft_wrap=True)
