"""Generate docs/commands.md and docs/settings.md from the program."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from totes import errors
from totes.cli import INTERRUPTED, TERMINATED, app
from totes.config.settings import PREFIX, Settings, describe_setting

DOCS = Path(__file__).parent.parent / "docs"
COLUMNS = 90

ABOUT_COMMANDS = """\
# Commands

[Settings](settings.md), such as the address of totesys, come from the environment or `totes.toml`.
`python -m totes` is the same as `totes`.

Results go to standard output; progress and log lines go to standard error. An error is one line on
standard error: what happened, where, and what to do.

| exit code | meaning |
|---|---|
"""

ABOUT_SETTINGS = """\
# Settings

Set a setting as an environment variable, or in the file `totes.toml` in the working directory,
there in lower case and without the prefix: `every = "10s"`. The environment takes precedence.
`totes settings` lists all settings with their values and origins; it never shows passwords.

A duration is a number with `ms`, `s`, `m`, `h` or `d`. HOME is the value of `TOTES_HOME`. The
credentials, region and endpoint of AWS are found as the AWS CLI finds them.

| setting | meaning | default |
|---|---|---|
"""


def commands() -> str:
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in _codes())
    helps = _help_texts(get_command(app), "totes")
    return ABOUT_COMMANDS + codes + "".join(f"\n## {n}\n\n```\n{text}\n```\n" for n, text in helps)


def _codes() -> Iterator[tuple[int, str]]:
    yield 0, "done"
    yield 1, "`verify` found a difference, `check` something missing, or a rule of `alerts` holds"
    for kind in sorted(errors.TotesError.__subclasses__(), key=lambda kind: kind.exit_code):
        yield kind.exit_code, (kind.__doc__ or "").splitlines()[0].rstrip(".")
    yield errors.UNEXPECTED_ERROR_EXIT_CODE, "unexpected error; run with `--debug`"
    yield INTERRUPTED, "interrupted by Ctrl-C; `run` by the second Ctrl-C"
    yield TERMINATED, "ended by SIGTERM; `run` stops after the current batch and exits with 0"


def _help_texts(command: Any, name: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    """Yield the full name and the help of a command and of its subcommands."""
    context = typer.Context(command, parent=parent, info_name=name, terminal_width=COLUMNS)
    yield context.command_path, command.get_help(context)
    for part, inner in getattr(command, "commands", {}).items():
        yield from _help_texts(inner, part, context)


def settings() -> str:
    rows = ""
    for name in Settings.model_fields:
        meaning, default = describe_setting(name)
        rows += f"| `{PREFIX}{name.upper()}` | {meaning} | {default} |\n"
    return ABOUT_SETTINGS + rows


PAGES: dict[str, Callable[[], str]] = {"commands.md": commands, "settings.md": settings}

if __name__ == "__main__":
    for page, text in PAGES.items():
        (DOCS / page).write_text(text(), encoding="utf-8")
