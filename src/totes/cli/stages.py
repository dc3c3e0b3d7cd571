"""The commands that move data: `ingest`, `transform`, `load`, `run` and `replay`."""

# ruff: noqa: PLC0415  imports inside commands keep `totes --help` quick

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from totes.cli.output import JsonLines, print_json_line

if TYPE_CHECKING:
    from collections.abc import Iterable

    from totes.alert import AlertTargets
    from totes.config.settings import Settings
    from totes.stages.runner import StepResult
    from totes.stages.transform import Cluster

NewSource = Annotated[
    bool,
    typer.Option("--accept-new-source", help="Accept a changed source database."),
]
Deletes = Annotated[
    bool,
    typer.Option("--accept-deletes", help="Accept that a table has lost more than half its rows."),
]


class Engine(StrEnum):
    """What computes the rows of batches."""

    DUCKDB = "duckdb"
    SPARK = "spark"


EngineOption = Annotated[
    Engine,
    typer.Option("--engine", help="Engine that computes the star tables.", show_default=True),
]


def ingest(
    *,
    accept_new_source: NewSource = False,
    accept_deletes: Deletes = False,
    as_json: JsonLines = False,
) -> None:
    """Capture the changes in the source as a batch."""
    from totes.cli.terminal import show_progress
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.error_policy import retry_iterator
    from totes.stages.ingest import AcceptOptions
    from totes.stages.runner import run_stage

    accept = AcceptOptions(new_source=accept_new_source, deletes=accept_deletes)
    with Resources(load_settings()) as resources, show_progress() as progress:
        results = retry_iterator(lambda: run_stage(resources, "ingest", accept, progress))
        show_steps(results, resources.alert_targets, as_json=as_json)


def transform(*, engine: EngineOption = Engine.DUCKDB, as_json: JsonLines = False) -> None:
    """Compute the star tables of pending batches, as Parquet.

    With --engine spark, batches of at least TOTES_SPARK_MIN_SIZE are computed on the cluster
    TOTES_SPARK_MASTER.
    """
    from totes.cli.terminal import show_progress
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.error_policy import retry_iterator
    from totes.stages.runner import run_stage

    settings = load_settings()
    cluster = _cluster(engine, settings, settings.spark_min_size * 1_000_000)
    with Resources(settings) as resources, show_progress() as progress:
        results = retry_iterator(
            lambda: run_stage(resources, "transform", progress=progress, cluster=cluster)
        )
        show_steps(results, resources.alert_targets, as_json=as_json)


def load(*, as_json: JsonLines = False) -> None:
    """Load pending batches into the warehouse."""
    from totes.cli.terminal import show_progress
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.error_policy import retry_iterator
    from totes.stages.runner import run_stage

    with Resources(load_settings()) as resources, show_progress() as progress:
        results = retry_iterator(lambda: run_stage(resources, "load", progress=progress))
        show_steps(results, resources.alert_targets, as_json=as_json)


def run(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Bring the warehouse up to date and exit.")
    ] = False,
    every: Annotated[
        str | None,
        typer.Option(metavar="DURATION", help="Pause between runs, such as 500ms or 5s."),
    ] = None,
    accept_new_source: NewSource = False,
    accept_deletes: Deletes = False,
    as_json: JsonLines = False,
) -> None:
    """Run ingest, transform and load continuously, and publish if TOTES_ICEBERG_CATALOG is set.

    Ctrl-C and SIGTERM stop it after the current batch; a second Ctrl-C stops it at once. A stage
    that fails is reported to TOTES_ALERT_COMMAND and retried after growing pauses, while the
    others continue. Alert rules (see `totes alerts`) are checked after each batch, and the
    scheduled report is sent when it is due.
    """
    from totes.cli.terminal import show_progress, stop_on_signals
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.config.values import parse_duration
    from totes.errors import UsageError
    from totes.notifications.background import Checker, checks_in_background
    from totes.stages.ingest import AcceptOptions
    from totes.stages.runner import run as keep_running

    if once and every:
        raise UsageError("Use either --once or --every, not both.")
    settings = load_settings()
    pause = parse_duration(every, "--every") if every else settings.every
    accept = AcceptOptions(new_source=accept_new_source, deletes=accept_deletes)
    with Resources(settings) as resources, show_progress() as progress:
        checker = Checker(settings, resources.warehouse, resources.alert_targets)
        if once:
            from totes.stages.runner import run_once

            show_steps(
                run_once(resources.pipeline, accept, progress),
                resources.alert_targets,
                as_json=as_json,
            )
            checker.check()
            return
        with stop_on_signals() as stop, checks_in_background(checker) as wake:

            def on_result(result: "StepResult") -> None:
                _show_if_batch(result, as_json=as_json)
                if result.stage == "load":
                    wake.set()

            keep_running(
                resources.pipeline,
                pause,
                stop,
                accept=accept,
                alert_targets=resources.alert_targets,
                on_result=on_result,
                progress=progress,
                source_share=settings.source_share,
                log_alarm_bytes=settings.log_alarm * 1_000_000,
            )


def replay(
    *,
    into: Annotated[
        str | None,
        typer.Option(metavar="DSN", help="Build this warehouse instead of TOTES_WAREHOUSE_DSN."),
    ] = None,
    to: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Last batch to replay. [all]")
    ] = None,
    engine: EngineOption = Engine.DUCKDB,
    build_only: Annotated[
        bool,
        typer.Option(
            "--build-only", help="Only write the processed data; the next replay loads it."
        ),
    ] = False,
    as_json: JsonLines = False,
) -> None:
    """Rebuild processed data and warehouse from the ingestion store.

    Writes a new generation of processed data, which replaces the current one once it is complete.
    With --engine spark, the rows are computed on the cluster TOTES_SPARK_MASTER.
    """
    from totes.cli.terminal import show_progress
    from totes.config.resources import Resources
    from totes.config.settings import load_settings
    from totes.config.values import parse_dsn
    from totes.errors import UsageError
    from totes.stages.replay import build_generation
    from totes.stages.replay import replay as run_replay

    if into and build_only:
        raise UsageError("Use either --into or --build-only, not both.")
    if into and engine is Engine.SPARK:
        raise UsageError(
            "--into writes processed data to a temporary folder of this machine, which the engine "
            "spark can't use: leave out --into or --engine."
        )
    target = parse_dsn(into, "--into") if into else None
    settings = load_settings()
    cluster = _cluster(engine, settings)
    with Resources(settings) as resources, show_progress() as progress:
        if build_only:
            steps = build_generation(
                resources.ingestion,
                resources.processed,
                resources.star,
                last_batch=to,
                cluster=cluster,
                progress=progress,
            )
            show_steps(steps, resources.alert_targets, as_json=as_json)
            return
        steps = run_replay(
            resources.pipeline, into=target, last_batch=to, cluster=cluster, progress=progress
        )
        show_steps(steps, resources.alert_targets, as_json=as_json)


def _cluster(engine: Engine, settings: "Settings", min_bytes: int = 0) -> "Cluster | None":
    """Return the cluster that computes batches of at least `min_bytes`; None for DuckDB."""
    if engine is Engine.DUCKDB:
        return None
    from totes.spark.session import check_installed

    check_installed()
    from totes.spark.cluster import SparkCluster

    return SparkCluster(settings.spark_master, min_bytes)


def show_steps(
    steps: "Iterable[StepResult]", alert_targets: "AlertTargets", *, as_json: bool
) -> None:
    """Show results as they come, and send the alerts that they require."""
    from totes.stages.runner import alert_of_step

    for result in steps:
        _show(result, as_json=as_json)
        alert_of_step(alert_targets, result)


def _show_if_batch(result: "StepResult", *, as_json: bool) -> None:
    if result.batch is not None:
        _show(result, as_json=as_json)


def _show(result: "StepResult", *, as_json: bool) -> None:
    from totes.cli.terminal import format_time, out

    if as_json:
        counts = {"quarantined": dict(result.quarantined), "unreadable": dict(result.unreadable)}
        print_json_line({**vars(result), **counts})
    elif result.batch is None:
        out().print(f"{result.stage:<10} nothing new at {format_time(result.at)}")
    else:
        rows = f"{result.rows:,} row{'' if result.rows == 1 else 's'}"
        line = f"{result.stage:<10} batch {result.batch:<6} {rows:>16}"
        out().print(f"{line}   as of {format_time(result.at)}")
