"""The commands that only look: at the parts, at how far the data is, at whether it is right."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING

import typer

from totes.cli.report import Json, report

if TYPE_CHECKING:
    from rich.console import Console

    from totes.check import Finding
    from totes.status import Status
    from totes.verify import TableVerdict, Verdict

FAILED = 1

_KEYS_SHOWN = 10


def check(*, as_json: Json = False) -> None:
    """Try databases, privileges, stores and clocks.

    Says what is missing and what helps; exits with 1 where something failed. Leaves one small
    object, check/probe.txt, in each store.
    """
    from totes.check import check as look
    from totes.cli.terminal import out
    from totes.places import Places
    from totes.settings import load_settings

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


def status(*, as_json: Json = False) -> None:
    """How far each stage is, and how fresh the data.

    Also what the last batch brought, changes of the source's schema, and what waits in quarantine.
    """
    from totes.cli.terminal import out
    from totes.places import Places
    from totes.settings import load_settings
    from totes.status import status as look

    with Places(load_settings(), make=False) as places:
        seen = look(places.ingestion, places.processed, places.warehouse)
    if as_json:
        report(seen.to_json())
    else:
        _show_status(out(), seen)


def _show_status(console: "Console", seen: "Status") -> None:
    from totes.cli.terminal import age, cell, moment, printable, table

    console.print(f"data to     {moment(seen.data_to)}")
    ago = "" if seen.lag is None else f", {age(seen.lag)} ago"
    console.print(f"checked at  {moment(seen.checked_at)}{ago}")
    console.print(f"verified    {_verified(seen)}")
    if seen.ahead:
        console.print(
            f"That is {age(seen.ahead)} ahead of the warehouse's clock: a clock is or was wrong. "
            "Compare the clocks: until then nobody can tell how fresh the data is, though "
            "`totes verify` proves it."
        )
    console.print()
    stages = table("stage", ">batch", "as of", ">rows", ">pending")
    for stage in seen.stages:
        cells = (f"{stage.batch}", moment(stage.captured_at), f"{stage.rows:,}", f"{stage.pending}")
        stages.add_row(stage.name, *cells)
    console.print(stages)
    if seen.carried:
        console.print(f"\nIn batch {seen.stages[0].batch}")
        rows = table("table", ">changed", ">deleted")
        for carried in seen.carried:
            rows.add_row(cell(carried.table), f"{carried.changed:,}", f"{carried.deleted:,}")
        console.print(rows)
    for source in seen.unreadable:
        unreadable = printable(f"{source.table} of totesys: {source.values:,} values can't be read")
        console.print(f"\n{unreadable}, see `totes quarantine show`.", markup=False)
    for change in seen.schema_changes:
        told = printable(f"{change.table}: {change.what}")
        console.print(f"\nSince batch {change.batch}, {told}", markup=False)
    console.print("\nIn quarantine" if seen.quarantine else "\nQuarantine is empty.")
    for waiting in seen.quarantine:
        told = printable(f"{waiting.table}: {waiting.reason}")
        console.print(f"{waiting.rows:>8,}  {told}", markup=False)


def _verified(seen: "Status") -> str:
    from totes.cli.terminal import moment

    if seen.verified is None:
        return "never: run `totes verify`"
    result = "equal" if seen.verified.equal else "it differed, `totes verify` names the keys"
    return f"{moment(seen.verified.verified_at)}, batch {seen.verified.batch}: {result}"


def verify(*, as_json: Json = False) -> None:
    """Compare warehouse and totesys row by row.

    Within one snapshot of totesys: what was not captured yet is captured and loaded first. Exits
    with 1 where they differ, and names table and keys.
    """
    from totes.cli.terminal import out, progress
    from totes.places import Places
    from totes.policy import persistently
    from totes.settings import load_settings
    from totes.verify import verify as compare

    with Places(load_settings(), make=False) as places, progress() as shown:
        verdict = persistently(lambda: compare(places.pipeline, progress=shown))
    if as_json:
        report(verdict.to_json())
    else:
        show_verdict(out(), verdict)
    raise typer.Exit(0 if verdict.equal else FAILED)


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


def settings(*, as_json: Json = False) -> None:
    """Every setting, its value and where it is from."""
    from rich.text import Text

    from totes.cli.terminal import out, printable
    from totes.settings import listed, load_settings

    found = list(listed(load_settings()))
    if as_json:
        report(found)
        return
    console = out()
    for one in found:
        value = printable(one.value) if one.value is not None else f"({one.default})"
        console.print(Text.assemble((f"{one.name:<21}", "bold"), f" {value}  ({one.origin})"))
        console.print(Text(f"{'':<21} {one.meaning}", "dim"))
