"""`totes gc`: list and remove orphaned files in the lake."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING, Annotated

import typer

from totes.cli.output import Json, print_json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from totes.operations.gc import OrphanedFile


def gc(
    *,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove those older than --older-than.")
    ] = False,
    older_than: Annotated[
        str,
        typer.Option(metavar="DURATION", help="Minimum age, such as 48h; at least 1h."),
    ] = "24h",
    as_json: Json = False,
) -> None:
    """List orphaned files in the lake: those that no manifest names.

    They remain after attempts that were killed, or whose batch another process published first.
    Nothing reads them; they only use space. With --remove, old ones are removed; this is the only
    command that needs permission to delete. Files that a running attempt has written so far are
    neither listed nor removed.
    """
    from datetime import UTC, datetime

    from totes.config.settings import load_settings
    from totes.config.values import parse_duration
    from totes.errors import UsageError
    from totes.lake import open_deletable_store
    from totes.operations.gc import MIN_AGE, delete_orphaned_files, find_orphaned_files

    settings = load_settings()
    age = parse_duration(older_than, "--older-than")
    if age < MIN_AGE:
        raise UsageError("Option --older-than must be 1h or more: younger files may be in use.")
    now = datetime.now(UTC)
    orphaned_files: list[OrphanedFile] = []
    removed: set[OrphanedFile] = set()
    for url in (settings.ingestion, settings.processed):
        store = open_deletable_store(url)
        in_store = list(find_orphaned_files(store))
        orphaned_files += in_store
        if remove:
            removed.update(delete_orphaned_files(store, in_store, age, now))
    if as_json:
        print_json(_to_json(orphaned_files, removed, now))
    else:
        _show(orphaned_files, removed, now, older_than)


def _to_json(
    orphaned_files: "Sequence[OrphanedFile]", removed: "set[OrphanedFile]", now: "datetime"
) -> list[dict[str, object]]:
    return [
        {
            "store": file.url,
            "key": file.key,
            "size_bytes": file.size_bytes,
            "modified_at": file.modified_at,
            "age_seconds": round(file.age(now).total_seconds()),
            "removed": file in removed,
        }
        for file in orphaned_files
    ]


def _show(
    orphaned_files: "Sequence[OrphanedFile]",
    removed: "set[OrphanedFile]",
    now: "datetime",
    older_than: str,
) -> None:
    from totes.cli.terminal import format_duration, out, table

    console = out()
    if orphaned_files:
        rows = table("orphaned file", ">bytes", ">age", "")
        for file in orphaned_files:
            outcome = "removed" if file in removed else ""
            rows.add_row(
                f"{file.url}/{file.key}",
                f"{file.size_bytes:,}",
                format_duration(file.age(now)),
                outcome,
            )
        console.print(rows)
    size_bytes = sum(file.size_bytes for file in orphaned_files)
    count = len(orphaned_files)
    line = f"{count:,} orphaned file{'' if count == 1 else 's'}, {size_bytes:,} bytes"
    if removed:
        line += f"; {len(removed):,} older than {older_than} removed"
    console.print(f"{line}.")
