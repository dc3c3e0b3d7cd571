"""Reports for programs: what `--json` prints. docs/running.md lists the shapes, tests pin them."""

# ruff: noqa: PLC0415  imports inside functions keep `totes --help` quick

import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="As JSON.")]

JsonLines = Annotated[
    bool, typer.Option("--json", help="As JSON: one object on one line for each step.")
]


def report(value: Any, *, indent: int | None = 1) -> None:
    """Dataclasses become objects, moments ISO 8601."""
    from rich.text import Text

    from totes.cli.terminal import out

    out().print(Text(json.dumps(value, indent=indent, default=_plain)))


def report_line(value: Any) -> None:
    """The same on one line."""
    report(value, indent=None)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else asdict(value)
