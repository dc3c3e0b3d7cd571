"""Output of `--json`. docs/running.md lists the keys."""

# ruff: noqa: PLC0415  imports inside functions keep `totes --help` quick

import json
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

JsonLines = Annotated[
    bool, typer.Option("--json", help="Print JSON: one object per line for each step.")
]


def print_json(value: Any, *, indent: int | None = 1) -> None:
    """Print a value as JSON: dataclasses as objects, moments in ISO 8601."""
    from rich.text import Text

    from totes.cli.terminal import out

    out().print(Text(json.dumps(value, indent=indent, default=_serializable)))


def print_json_line(value: Any) -> None:
    """Print a value as JSON on one line."""
    print_json(value, indent=None)


def _serializable(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else asdict(value)
