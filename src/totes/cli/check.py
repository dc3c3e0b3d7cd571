"""`totes check`: tries databases, privileges, stores and clocks."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING

import typer

from totes.cli.report import Json, report

if TYPE_CHECKING:
    from rich.console import Console

    from totes.operations.check import Finding

FAILED = 1
"""Exit code where something is missing."""


def check(*, as_json: Json = False) -> None:
    """Try databases, privileges, stores and clocks.

    Says what is missing and what helps; exits with 1 where something failed. Leaves one small
    object, check/probe.txt, in each store.
    """
    from totes.cli.terminal import out
    from totes.config.resources import Places
    from totes.config.settings import load_settings
    from totes.operations.check import check as look

    found = []
    with Places(load_settings()) as places:
        for finding in look(places):
            found.append(finding)
            if not as_json:
                _show_finding(out(), finding)
    ok = all(finding.ok for finding in found)
    if as_json:
        report({"ok": ok, "findings": found})
    raise typer.Exit(0 if ok else FAILED)


def _show_finding(console: "Console", finding: "Finding") -> None:
    from rich.text import Text

    sign = ("ok      ", "green") if finding.ok else ("failed  ", "bold red")
    console.print(Text.assemble(sign, f"{finding.what}: {finding.found}"))
    if finding.advice:
        console.print(Text(f"        {finding.advice}"))
