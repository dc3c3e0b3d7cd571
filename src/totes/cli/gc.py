"""`totes gc`: what killed attempts left in the lake."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING, Annotated

import typer

from totes.cli.report import Json, report

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from totes.operations.gc import Orphan


def gc(
    *,
    remove: Annotated[bool, typer.Option("--remove", help="Remove those that are old.")] = False,
    older_than: Annotated[
        str,
        typer.Option(metavar="DURATION", help="How old, such as 48h; an hour at least."),
    ] = "24h",
    as_json: Json = False,
) -> None:
    """List files in the lake that no manifest names.

    Killed or overtaken attempts leave them. Nothing reads them, so they only cost room; with
    --remove those that are old are removed, which is the one thing here that needs a right to
    delete. What an attempt at work has written so far is neither listed nor removed.
    """
    from datetime import UTC, datetime

    from totes.config.settings import duration, load_settings
    from totes.errors import UsageError
    from totes.lake import open_swept
    from totes.operations.gc import SHORTEST, orphans
    from totes.operations.gc import remove as sweep

    settings = load_settings()
    age = duration(older_than, "--older-than")
    if age < SHORTEST:
        raise UsageError("Option --older-than must be 1h or more: younger files may be in use.")
    now = datetime.now(UTC)
    found: list[Orphan] = []
    removed: list[Orphan] = []
    for url in (settings.ingestion, settings.processed):
        store = open_swept(url)
        here = list(orphans(store))
        found += here
        if remove:
            removed += sweep(store, here, age, now)
    if as_json:
        report(_json(found, set(removed), now))
    else:
        _show(found, removed, now, older_than)


def _json(
    found: "Sequence[Orphan]", removed: "set[Orphan]", now: "datetime"
) -> list[dict[str, object]]:
    return [
        {
            "store": one.url,
            "key": one.key,
            "size_bytes": one.size_bytes,
            "modified_at": one.modified_at,
            "age_seconds": round(one.age(now).total_seconds()),
            "removed": one in removed,
        }
        for one in found
    ]


def _show(
    found: "Sequence[Orphan]", removed: "Sequence[Orphan]", now: "datetime", older_than: str
) -> None:
    from totes.cli.terminal import age, out, table

    console = out()
    if found:
        rows = table("orphan", ">bytes", ">age", "")
        gone = set(removed)
        for one in found:
            done = "removed" if one in gone else ""
            rows.add_row(f"{one.url}/{one.key}", f"{one.size_bytes:,}", age(one.age(now)), done)
        console.print(rows)
    size_bytes = sum(one.size_bytes for one in found)
    line = f"{len(found):,} orphan{'' if len(found) == 1 else 's'}, {size_bytes:,} bytes"
    if removed:
        line += f"; {len(removed):,} older than {older_than} removed"
    console.print(f"{line}.")
