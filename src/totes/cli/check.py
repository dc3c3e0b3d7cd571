"""`totes check`: test databases, privileges, stores and clocks."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING

import typer

from totes.cli.output import Json, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from totes.operations.finding import Finding

FAILED = 1
"""Exit code if something is missing."""


def check(*, as_json: Json = False) -> None:
    """Test databases, privileges, stores and clocks.

    Prints what is missing and how to fix it; exits with 1 if a test fails. Leaves one small
    object, check/probe.txt, in each store.
    """
    from itertools import chain

    from totes.cli.notifications import check_config
    from totes.cli.terminal import out
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.operations.check import check as run_checks

    findings = []
    with Resources(load_settings()) as resources:
        for finding in chain(run_checks(resources), check_config(resources.settings)):
            findings.append(finding)
            if not as_json:
                _show_finding(out(), finding)
    ok = all(finding.ok for finding in findings)
    if as_json:
        print_json({"ok": ok, "findings": findings})
    raise typer.Exit(0 if ok else FAILED)


def _show_finding(console: "Console", finding: "Finding") -> None:
    from rich.text import Text

    sign = ("ok      ", "green") if finding.ok else ("failed  ", "bold red")
    console.print(Text.assemble(sign, f"{finding.what}: {finding.found}"))
    if finding.advice:
        console.print(Text(f"        {finding.advice}"))
