"""`totes verify`: compares warehouse and totesys row by row."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING

import typer

from totes.cli.report import Json, report

if TYPE_CHECKING:
    from rich.console import Console

    from totes.operations.verify import TableVerdict, Verdict

DIFFERS = 1
"""Exit code where the two differ."""

_KEYS_SHOWN = 10


def verify(*, as_json: Json = False) -> None:
    """Compare warehouse and totesys row by row.

    Within one snapshot of totesys: what was not captured yet is captured and loaded first. Exits
    with 1 where they differ, and names table and keys.
    """
    from totes.cli.terminal import out, progress
    from totes.config.resources import Places
    from totes.config.settings import load_settings
    from totes.operations.verify import verify as compare
    from totes.policy import persistently

    with Places(load_settings(), make=False) as places, progress() as shown:
        verdict = persistently(lambda: compare(places.pipeline, progress=shown))
    if as_json:
        report(verdict.to_json())
    else:
        show_verdict(out(), verdict)
    raise typer.Exit(0 if verdict.equal else DIFFERS)


def show_verdict(console: "Console", verdict: "Verdict") -> None:
    from totes.cli.terminal import table

    rows = table("table", ">totesys", ">warehouse", "")
    for star in verdict.tables:
        equal = "[green]equal[/]" if star.equal else "[bold red]differs[/]"
        rows.add_row(star.name, f"{star.source_rows:,}", f"{star.warehouse_rows:,}", equal)
    console.print(rows)
    for star in verdict.tables:
        _show_differences(console, star)
    what = "equals totesys" if verdict.equal else "differs from totesys"
    console.print(f"The warehouse {what} as of batch {verdict.batch}.")


def _show_differences(console: "Console", star: "TableVerdict") -> None:
    from totes.cli.terminal import printable

    for one in star.differing[:_KEYS_SHOWN]:
        columns = f" in {', '.join(one.columns)}" if one.columns else ""
        told = f"{star.name} {one.key}: {one.kind}{columns}"
        console.print(printable(told), markup=False)
    if hidden := len(star.differing[_KEYS_SHOWN:]):
        console.print(f"{star.name}: {hidden:,} more (--json names them)")
    if star.more:
        console.print(f"{star.name}: more in {star.more:,} other groups of keys")
    if star.quarantined:
        keys = ", ".join(star.quarantined[:_KEYS_SHOWN])
        more = " …" if star.quarantined[_KEYS_SHOWN:] else ""
        told = f"{star.name}: {len(star.quarantined):,} in quarantine, not compared: {keys}{more}"
        console.print(printable(told), markup=False)
