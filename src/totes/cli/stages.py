"""The commands that move data: the three stages, all of them in a row, and a replay."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from typing import TYPE_CHECKING, Annotated

import typer

from totes.cli.report import JsonLines, report_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from totes.alert import Alarm
    from totes.stages.runner import Done

NewSource = Annotated[
    bool,
    typer.Option("--accept-new-source", help="The source is another than last time, and is meant."),
]
Deletes = Annotated[
    bool,
    typer.Option("--accept-deletes", help="More than half of a table vanished, and that is right."),
]


def ingest(
    *,
    accept_new_source: NewSource = False,
    accept_deletes: Deletes = False,
    as_json: JsonLines = False,
) -> None:
    """Capture what changed in totesys as a batch."""
    from totes.cli.terminal import progress
    from totes.config.resources import Places
    from totes.config.settings import load_settings
    from totes.policy import persistently
    from totes.stages.ingest import Accept
    from totes.stages.ingest import ingest as take
    from totes.stages.runner import ingested

    accept = Accept(new_source=accept_new_source, deletes=accept_deletes)
    with Places(load_settings()) as places, progress() as shown:
        found = persistently(
            lambda: take(
                places.source,
                places.ingestion,
                places.scope,
                rates=places.rates,
                accept=accept,
                progress=shown,
            )
        )
    _show(ingested(found), as_json=as_json)


def transform(*, as_json: JsonLines = False) -> None:
    """Make the star's Parquet of pending batches."""
    from totes.cli.terminal import progress
    from totes.config.resources import Places
    from totes.config.settings import load_settings
    from totes.policy import steadily
    from totes.stages.runner import tell_refused, transformed
    from totes.stages.transform import transform as make

    with Places(load_settings()) as places, progress() as shown:
        for made in steadily(
            lambda: make(places.ingestion, places.processed, places.star, progress=shown)
        ):
            done = transformed(made)
            _show(done, as_json=as_json)
            tell_refused(places.alarm, done)


def load(*, as_json: JsonLines = False) -> None:
    """Load pending batches into the warehouse."""
    from totes.cli.terminal import progress
    from totes.config.resources import Places
    from totes.config.settings import load_settings
    from totes.policy import steadily
    from totes.stages.runner import steps

    with Places(load_settings()) as places, progress() as shown:
        steps_taken = steadily(lambda: steps(places, "load", progress=shown))
        _show_all(steps_taken, places.alarm, as_json=as_json)


def run(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Bring the warehouse up to totesys and exit.")
    ] = False,
    every: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Pause between runs, such as 500ms or 5s."),
    ] = None,
    accept_new_source: NewSource = False,
    accept_deletes: Deletes = False,
    as_json: JsonLines = False,
) -> None:
    """Ingest, transform and load, again and again.

    Ctrl-C and SIGTERM finish the batch in hand and stop; a second Ctrl-C stops at once. A stage
    that fails is tried again after growing pauses while the others go on, and
    TOTES_ALERT_COMMAND is told.
    """
    from functools import partial

    from totes.cli.terminal import progress, stopping
    from totes.config.resources import Places
    from totes.config.settings import duration, load_settings
    from totes.errors import UsageError
    from totes.stages.ingest import Accept
    from totes.stages.runner import run as keep_running

    if once and every:
        raise UsageError("--once and --every exclude each other.")
    settings = load_settings()
    pause = duration(every, "--every") if every else settings.every
    accept = Accept(new_source=accept_new_source, deletes=accept_deletes)
    with Places(settings) as places, progress() as shown:
        if once:
            from totes.stages.runner import run_once

            _show_all(run_once(places.pipeline, accept, shown), places.alarm, as_json=as_json)
            return
        with stopping() as stop:
            keep_running(
                places.pipeline,
                pause,
                stop,
                accept=accept,
                alarm=places.alarm,
                watch=partial(_show_news, as_json=as_json),
                progress=shown,
            )


def replay(
    *,
    into: Annotated[
        str | None,
        typer.Option(metavar="DSN", help="Another warehouse to build, instead of ours."),
    ] = None,
    to: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="The last batch to replay. [all]")
    ] = None,
    as_json: JsonLines = False,
) -> None:
    """Rebuild everything from the ingestion store.

    The new generation of processed data stands beside the old one and takes its place when it is
    complete.
    """
    from totes.cli.terminal import progress
    from totes.config.resources import Places
    from totes.config.settings import dsn, load_settings
    from totes.stages.replay import replay as again

    target = dsn(into, "--into") if into else None
    with Places(load_settings()) as places, progress() as shown:
        steps = again(places.pipeline, into=target, upto=to, progress=shown)
        _show_all(steps, places.alarm, as_json=as_json)


def _show_all(steps: "Iterable[Done]", alarm: "Alarm", *, as_json: bool) -> None:
    from totes.stages.runner import tell_refused

    for done in steps:
        _show(done, as_json=as_json)
        tell_refused(alarm, done)


def _show_news(done: "Done", *, as_json: bool) -> None:
    if done.batch is not None:
        _show(done, as_json=as_json)


def _show(done: "Done", *, as_json: bool) -> None:
    from totes.cli.terminal import moment, out

    if as_json:
        report_line({**vars(done), "refused": dict(done.refused)})
    elif done.batch is None:
        out().print(f"{done.stage:<10} nothing new at {moment(done.at)}")
    else:
        rows = f"{done.rows:,} row{'' if done.rows == 1 else 's'}"
        out().print(f"{done.stage:<10} batch {done.batch:<6} {rows:>16}   as of {moment(done.at)}")
