"""Write docs/commands.md and docs/settings.md from the program, so that they can't drift."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from totes import errors
from totes.cli import INTERRUPTED, TERMINATED, app
from totes.config.settings import PREFIX, Settings, described

DOCS = Path(__file__).parent.parent / "docs"
COLUMNS = 90
KINDS: tuple[type[errors.TotesError], ...] = (
    errors.UsageError,
    errors.SourceError,
    errors.LakeError,
    errors.WarehouseError,
    errors.ModelError,
)


ABOUT_COMMANDS = """\
# Commands

Settings, such as where totesys is, come from the environment or `totes.toml`; see
[settings](settings.md). `python -m totes` is the same as `totes`.

What was asked for goes to standard output; progress and log lines go to standard error. An error
is one plain line there: what happened, where, and what to do.

| exit code | meaning |
|---|---|
"""

ABOUT_SETTINGS = """\
# Settings

Each is an environment variable, or a line of `totes.toml` in the working directory, there without
the prefix and in small letters: `every = "10s"`. The environment wins. `totes settings` lists them
with their values and where each came from; passwords are never shown.

A duration is a number with `ms`, `s`, `m` or `h`. HOME is the value of `TOTES_HOME`. S3's
credentials, region and endpoint are found as the AWS CLI finds them.

| setting | meaning | default |
|---|---|---|
"""


def commands() -> str:
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in _codes())
    helps = _helps(get_command(app), "totes")
    return ABOUT_COMMANDS + codes + "".join(f"\n## {n}\n\n```\n{text}\n```\n" for n, text in helps)


def _codes() -> Iterator[tuple[int, str]]:
    yield 0, "done"
    yield 1, "the check failed: `verify` found a difference, or `check` something missing"
    for kind in KINDS:
        yield kind.exit_code, (kind.__doc__ or "").splitlines()[0].rstrip(".")
    yield errors.BUG, "an unexpected error; `--debug` shows where"
    yield INTERRUPTED, "interrupted by Ctrl-C, `run` by the second"
    yield TERMINATED, "ended by SIGTERM, which `run` takes as a request to stop, with 0"


def _helps(command: Any, name: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    """A command's help and those of its parts, with their full names."""
    context = typer.Context(command, parent=parent, info_name=name, terminal_width=COLUMNS)
    yield context.command_path, command.get_help(context)
    for part, inner in getattr(command, "commands", {}).items():
        yield from _helps(inner, part, context)


def settings() -> str:
    rows = ""
    for name in Settings.model_fields:
        meaning, default = described(name)
        rows += f"| `{PREFIX}{name.upper()}` | {meaning} | {default} |\n"
    return ABOUT_SETTINGS + rows


PAGES: dict[str, Callable[[], str]] = {"commands.md": commands, "settings.md": settings}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (DOCS / page).write_text(text(), encoding="utf-8")
