"""Transform: computes star rows from the batches of the ingestion store, as Parquet.

For each pending batch: fetch and verify its files, run the models that read a changed table, check
the rows against the contract, store the Parquet files, and create the manifest, which publishes the
batch. If another process has created the manifest first, its batch is used.

A Cluster can compute the rows of some models beforehand, for many batches at once. The other
models, and everything else that a batch needs, are computed here.
"""

# ruff: noqa: PLC0415  most runs find no batch to transform: imports would only cost time

import secrets
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from itertools import count, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Protocol

from totes.duckdb_engine import open_engine, scratch_folder
from totes.errors import LakeError, ModelError, ObjectMissing
from totes.failpoint import reach
from totes.lake.manifest import (
    File,
    Manifest,
    ProcessedManifest,
    StarFile,
    manifest_path,
    processed_manifest_path,
    sha256_hex,
)
from totes.lake.manifests import (
    fetch_verified,
    find_current_generation,
    find_newest_number,
    read_manifest,
    read_processed_manifest,
)
from totes.lake.store import Store
from totes.progress import NO_PROGRESS, Progress
from totes.star.folder import TOTESYS, Star
from totes.star.models import Model, Models

if TYPE_CHECKING:
    from totes.stages.transform.build import BatchBuild, BuildContext, ModelOutput


@dataclass(frozen=True)
class PlannedBatch:
    """A pending batch: what a cluster can compute of it.

    models: those that read source tables with changes in this batch, and that neither wait nor are
        backfilled.
    others: the names of those that wait or are backfilled.
    after: the capture time of the batch before, None if it is not known.
    """

    source: Manifest
    models: tuple[Model, ...]
    others: frozenset[str]
    after: datetime | None


@dataclass(frozen=True)
class ComputedRows:
    """The files that a cluster has stored: accepted and rejected rows of a model in a batch."""

    accepted: tuple[StarFile, ...]
    rejected: tuple[StarFile, ...]


class ComputedBatches(Protocol):
    """What a cluster has computed of the pending batches: the same rows as DuckDB would."""

    def rows(self, model: str, batch: int) -> ComputedRows | None:
        """Return a model's rows in a batch, None if DuckDB has to compute them."""
        ...

    def dependent_rows(
        self, model: Model, batch: int, earlier: Collection[File]
    ) -> ComputedRows | None:
        """Return the same for a model that reads star tables; `earlier` are its table's files."""
        ...


class Cluster(Protocol):
    """Computes the rows of models for many batches at once, and stores them as Parquet files."""

    def compute(
        self,
        stores: tuple[Store, Store],
        generation: int,
        models: Models,
        pending: Iterator[PlannedBatch],
        progress: Progress,
    ) -> AbstractContextManager[ComputedBatches]:
        """Compute the rows of pending batches; `stores` are the ingestion and the processed store.

        All files in the result are verified and durable, so a manifest can name them.
        """
        ...


def transform(  # noqa: PLR0913  stores, star, and which batches are computed by what
    ingestion: Store,
    processed: Store,
    star: Star = TOTESYS,
    *,
    cluster: Cluster | None = None,
    stop_before: Callable[[int], bool] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Iterator[ProcessedManifest]:
    """Transform all pending batches in the current generation; yield each published manifest.

    Ends before the first pending batch for which `stop_before` is true. Raises LakeError if a
    file is missing or damaged, and ModelError if a model can't run on a batch. The batch is then
    not published, and the next call retries it.
    """
    generation = find_current_generation(processed)
    yield from write_generation(
        ingestion,
        processed,
        generation,
        star.models,
        stop_before=stop_before,
        cluster=cluster,
        progress=progress,
    )


def write_generation(  # noqa: PLR0913  a replay selects generation, models and batches
    ingestion: Store,
    processed: Store,
    generation: int,
    models: Models,
    *,
    last_batch: int | None = None,
    cluster: Cluster | None = None,
    stop_before: Callable[[int], bool] | None = None,
    progress: Progress = NO_PROGRESS,
) -> Iterator[ProcessedManifest]:
    """Transform the batches that `generation` lacks, at most up to `last_batch`.

    Raises LakeError and ModelError as `transform`.
    """

    def path(batch: int) -> str:
        return processed_manifest_path(generation, batch)

    def is_pending(batch: int) -> bool:
        is_requested = last_batch is None or batch <= last_batch
        is_there = is_requested and ingestion.exists(manifest_path(batch))
        return is_there and not (stop_before and stop_before(batch))

    newest = find_newest_number(processed, path)
    previous = read_processed_manifest(processed, generation, newest) if newest else None
    if previous is not None:
        _check_same_origin(ingestion, processed, previous[0])
    if not is_pending(newest + 1):
        return
    from totes.stages.transform.build import BuildContext

    with scratch_folder("transform") as scratch, open_engine(scratch) as engine:
        context = BuildContext(ingestion, processed, generation, models, engine, scratch)
        pending = takewhile(is_pending, count(newest + 1))
        planned = _plan_batches(context, pending, previous and previous[0])
        stores = ingestion, processed
        with (
            cluster.compute(stores, generation, models, planned, progress)
            if cluster
            else nullcontext()
        ) as computed:
            for batch in takewhile(is_pending, count(newest + 1)):
                manifest = _build_batch(context, batch, previous, computed, progress)
                content = manifest.to_json()
                reach("transform.before-manifest")
                if processed.create(path(batch), content):
                    reach("transform.published")
                    previous = manifest, sha256_hex(content)
                    yield manifest
                else:  # another transform was first: continue from its batch
                    previous = read_processed_manifest(processed, generation, batch)


def _plan_batches(
    context: "BuildContext", numbers: Iterator[int], previous: ProcessedManifest | None
) -> Iterator[PlannedBatch]:
    """Yield the batches that can be transformed, up to the first one that can't."""
    waiting = previous.waiting if previous else {}
    after = previous.captured_at if previous else None
    for number in numbers:
        source, _ = read_manifest(context.ingestion, number)
        changed = {table.name for table in source.tables if table.files}
        waiting_before = waiting
        try:
            waiting = _find_waiting_models(context, source, changed, waiting_before)
        except ModelError:  # raised again when it is the batch's turn
            return
        others = frozenset(waiting) | waiting_before.keys()
        models = tuple(
            model
            for model in context.models.all
            if changed & model.lineage.sources.keys() and model.name not in others
        )
        yield PlannedBatch(source, models, others, after)
        after = source.captured_at


def _check_same_origin(ingestion: Store, processed: Store, last: ProcessedManifest) -> None:
    """Raise LakeError if the newest processed batch was made from another ingestion store.

    Also checked if nothing is pending: a wrong store would otherwise look like a source without
    changes.
    """
    try:
        _, digest = read_manifest(ingestion, last.batch)
    except ObjectMissing:
        digest = None
    if digest != last.ingested:
        raise LakeError(
            f"Batch {last.batch}, the newest in {processed.url}, was not made from batch "
            f"{last.batch} in {ingestion.url}: check TOTES_INGESTION_URL and TOTES_PROCESSED_URL."
        )


def _build_batch(
    context: "BuildContext",
    number: int,
    previous: tuple[ProcessedManifest, str] | None,
    computed: ComputedBatches | None,
    progress: Progress,
) -> ProcessedManifest:
    """Store the files of a batch and return its manifest, which is not stored.

    `previous` is the previous processed manifest and its digest.
    """
    from totes.stages.transform.build import BatchBuild, ModelOutput, unpack_tables

    source, source_digest = read_manifest(context.ingestion, number)
    if previous is not None:
        _check_follows(context, source, previous[0])
    changed = {table.name for table in source.tables if table.files}
    waiting_before = previous[0].waiting if previous else {}
    waiting = _find_waiting_models(context, source, changed, waiting_before)
    progress.start(f"transform batch {number}", source.rows, number)
    attempt = f"{number:012d}-{secrets.token_hex(4)}"
    on_cluster = {
        model.name: computed and computed.rows(model.name, number) for model in context.models.all
    }
    tables = context.models.joined_tables.union(
        *(model.lineage.sources for model in context.models.all if on_cluster[model.name] is None)
    )
    with (
        TemporaryDirectory(dir=context.scratch) as folder,
        unpack_tables(context, source, tables, Path(folder)) as lines,
    ):
        after = previous[0].captured_at if previous else None
        build = BatchBuild(context, source, Path(folder), f"{attempt}-0.parquet", lines, after)
        state_before = previous[0].state if previous else {}
        state = build.update_state(state_before if previous else None)
        outputs: list[ModelOutput] = []
        for model in context.models.all:
            if model.lineage.stars:
                continue
            if rows := on_cluster[model.name]:
                outputs.append(ModelOutput(model, rows.accepted, rows.rejected))
                progress.advance(outputs[-1].rows)
            elif model.name in waiting:
                if model.identifies_deletes(source):
                    outputs.append(build.run_model(model, state, deletes_only=True))
            elif model.name in waiting_before or changed & model.lineage.sources.keys():
                since = waiting_before.get(model.name)
                outputs.append(build.run_model(model, state, since=since))
                progress.advance(outputs[-1].rows)
        for part, batch in enumerate(source.released, start=1):
            outputs += _rerun_rejected(build, batch, f"{attempt}-{part}.parquet")
        star_files = _run_dependents(build, outputs, computed, state_before)
        build.store_outputs()
    return ProcessedManifest(
        batch=number,
        previous=previous[1] if previous else None,
        captured_at=source.captured_at,
        generation=context.generation,
        ingested=source_digest,
        files=tuple(file for output in outputs for file in output.accepted),
        rejected=tuple(file for output in outputs for file in output.rejected),
        state={**state, **star_files},
        models=context.models.digest,
        waiting=waiting,
        gap=source.log.gap if source.log else None,
    )


def _run_dependents(
    build: "BatchBuild",
    outputs: "list[ModelOutput]",
    computed: ComputedBatches | None,
    state_before: Mapping[str, tuple[File, ...]],
) -> dict[str, tuple[File, ...]]:
    """Add the outputs of models that read star tables; return all files of these models' tables."""
    from totes.stages.transform.build import ModelOutput

    models = build.context.models
    star_files = {
        model.name: state_before.get(model.name, ()) for model in models.all if model.lineage.stars
    }
    changed = [output.model.name for output in outputs if output.accepted]
    dependents = []
    for model in models.find_dependents(changed):
        earlier = star_files[model.name]
        if rows := computed and computed.dependent_rows(model, build.source.batch, earlier):
            dependents.append(ModelOutput(model, rows.accepted, rows.rejected))
        else:
            build.define_star_tables(model.lineage.stars, outputs)
            dependents.append(build.run_model(model, star_files))
        star_files[model.name] = (*earlier, *dependents[-1].accepted)
    outputs += dependents
    return {name: files for name, files in star_files.items() if files}


def _check_follows(context: "BuildContext", source: Manifest, previous: ProcessedManifest) -> None:
    """Raise LakeError if a batch does not follow the one that `previous` was made from."""
    if source.previous != previous.ingested:
        raise LakeError(
            f"Batch {source.batch} in {context.ingestion.url} does not follow the batch "
            f"{previous.batch} that {context.processed.url} was made from: check "
            "TOTES_INGESTION_URL and TOTES_PROCESSED_URL."
        )
    if source.captured_at <= previous.captured_at:
        raise LakeError(
            f"Batch {source.batch} in {context.ingestion.url} was captured before batch "
            f"{previous.batch}, which it follows: restore its manifest from a backup."
        )


def _find_waiting_models(
    context: "BuildContext",
    source: Manifest,
    changed: Collection[str],
    waiting_before: Mapping[str, int],
) -> dict[str, int]:
    """Return the models that skip this batch, each with the first batch that it skips.

    A model skips a batch that lacks a table or column it reads, if the newest batch has them again:
    the table was then captured in full, so that the model can be backfilled. Otherwise this raises
    ModelError, and the batch waits until the source or the model is fixed.
    """
    absent = {former.table.name for former in source.former if former.reason == "absent"}
    waiting = {}
    for model in context.models.all:
        is_affected = (
            model.name in waiting_before or (set(changed) | absent) & model.lineage.sources.keys()
        )
        if not is_affected or (message := model.missing_input_message(source)) is None:
            continue
        newest = find_newest_number(context.ingestion, manifest_path, at_least=source.batch)
        newest_manifest, _ = read_manifest(context.ingestion, newest)
        is_fixed_later = model.missing_input_message(newest_manifest) is None
        if not (is_fixed_later and model.can_backfill):
            raise ModelError(message)
        waiting[model.name] = waiting_before.get(model.name, source.batch)
    return waiting


def _rerun_rejected(build: "BatchBuild", number: int, name: str) -> Iterator["ModelOutput"]:
    """Run the current models on the rows that were rejected in batch `number`, as of that batch."""
    from totes.stages.transform.build import BatchBuild, unpack_tables

    context = build.context
    source, _ = read_manifest(context.ingestion, number)
    processed, _ = read_processed_manifest(context.processed, context.generation, number)
    models = {model.name: model for model in context.models.all}
    for file in processed.rejected:
        if file.table not in models:
            raise LakeError(
                f"Batch {number} in {context.processed.url} has rejected rows of {file.table}, "
                "which is not a star table: restore its manifest from a backup."
            )
    tables = {table for file in processed.rejected for table in models[file.table].lineage.sources}
    folder = build.folder / name
    folder.mkdir()
    rejected_rows: dict[str, list[Path]] = {}
    for place, file in enumerate(processed.rejected):
        if not models[file.table].lineage.stars:
            path = folder / f"{place}.rejected.parquet"
            fetch_verified(context.processed, file, path)
            rejected_rows.setdefault(file.table, []).append(path)
    with unpack_tables(context, source, tables, folder) as lines:
        after = None  # the lines were checked when their batch was transformed
        rerun = BatchBuild(context, source, folder, name, lines, after, build.outputs)
        for table, paths in rejected_rows.items():
            model, was_waiting = models[table], table in processed.waiting
            if not was_waiting:
                model.check(source)
            yield rerun.run_model(
                model, processed.state, only_rejected=paths, deletes_only=was_waiting
            )
