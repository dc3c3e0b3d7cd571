"""`totes status`: the progress of each stage and the age of the data."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING

from totes.cli.output import Json, print_json

if TYPE_CHECKING:
    from rich.console import Console

    from totes.operations.status import CaptureState, Status


def status(*, as_json: Json = False) -> None:
    """Show the last batch of each stage and the age of the data.

    Also shows the rows of the last batch, changes of the source's schema, and the quarantine.
    """
    from dataclasses import replace

    from totes.cli.terminal import out
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.operations.status import CaptureState, publication_stage, read_capture, read_status

    settings = load_settings()
    with Resources(settings, create=False) as resources:
        current = read_status(resources.ingestion, resources.processed, resources.warehouse)
        if resources.lakehouse is not None:
            from totes.lakehouse.publish import find_published

            published = find_published(resources.lakehouse, resources.star)
            position = (published.generation, published.batch) if published else None
            stage = publication_stage(resources.processed, position)
            current = replace(current, stages=(*current.stages, stage))
        capture = CaptureState(settings.capture)
        if settings.capture == "log":
            capture = read_capture(resources.source, settings.log_slot)
    if as_json:
        print_json(current.to_json() | {"capture": capture})
    else:
        _show_status(out(), current, capture)


def _show_status(console: "Console", current: "Status", capture: "CaptureState") -> None:
    from totes.cli.terminal import cell, format_duration, format_time, table
    from totes.escape import escape_controls

    console.print(f"data to     {format_time(current.data_to)}")
    ago = "" if current.lag is None else f", {format_duration(current.lag)} ago"
    console.print(f"checked at  {format_time(current.checked_at)}{ago}")
    console.print(f"verified    {_verified(current)}")
    console.print(f"captured    {_captured(capture)}", markup=False)
    if current.ahead:
        console.print(
            f"The last check is {format_duration(current.ahead)} ahead of the warehouse's clock: a "
            "clock is or was wrong. Until the clocks agree, the age of the data is unknown; `totes "
            "verify` still compares the data itself."
        )
    console.print()
    stages = table("stage", ">batch", "as of", ">rows", ">pending")
    for stage in current.stages:
        cells = (
            f"{stage.batch}",
            format_time(stage.captured_at),
            f"{stage.rows:,}",
            f"{stage.pending}",
        )
        stages.add_row(stage.name, *cells)
    console.print(stages)
    if current.unfinished:
        console.print(
            f"\nBatch {current.unfinished.batch} reads large tables whole, and is not complete: "
            f"{current.unfinished.rows:,} rows are stored, {current.unfinished.share:.0%} of these "
            "tables. An ingest that is interrupted continues from there."
        )
    if current.captured:
        console.print(f"\nIn batch {current.stages[0].batch}")
        rows = table("table", ">changed", ">deleted")
        for captured in current.captured:
            rows.add_row(cell(captured.table), f"{captured.changed:,}", f"{captured.deleted:,}")
        console.print(rows)
    if current.gap:
        batch = f"{current.gap.batch} of {format_time(current.gap.captured_at)}"
        reason = escape_controls(current.gap.reason)
        console.print(
            f"\nVersions between the previous batch and batch {batch} may be missing: {reason}",
            markup=False,
        )
    for source in current.unreadable:
        unreadable = escape_controls(
            f"{source.table} of the source: {source.values:,} values can't be read"
        )
        console.print(f"\n{unreadable}, see `totes quarantine show`.", markup=False)
    for change in current.schema_changes:
        line = escape_controls(f"{change.table}: {change.what}")
        console.print(f"\nSince batch {change.batch}, {line}", markup=False)
    console.print("\nIn quarantine" if current.quarantine else "\nQuarantine is empty.")
    for waiting in current.quarantine:
        line = escape_controls(f"{waiting.table}: {waiting.reason}")
        console.print(f"{waiting.rows:>8,}  {line}", markup=False)


def _captured(capture: "CaptureState") -> str:
    from totes.escape import escape_controls

    if capture.mode == "scan":
        return "by scanning the tables"
    if capture.problem is not None:
        return escape_controls(f"from the log, slot {capture.slot}: {capture.problem}")
    reader = "is read" if capture.active else "is not read now"
    megabytes = (capture.retained_bytes or 0) / 1_000_000
    return f"from the log: slot {capture.slot} {reader}, retains {megabytes:,.1f} MB"


def _verified(current: "Status") -> str:
    from totes.cli.terminal import format_time

    if current.verified is None:
        return "never: run `totes verify`"
    result = "equal" if current.verified.equal else "different, `totes verify` lists the keys"
    return f"{format_time(current.verified.verified_at)}, batch {current.verified.batch}: {result}"
