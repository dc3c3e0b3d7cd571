"""Replay: rebuilds processed data and warehouse from the ingestion store.

A replay writes a new generation beside the current one and publishes it, once complete, with one
create-only pointer; `load` then rebuilds the warehouse from it. If the process is killed before the
pointer is stored, the next replay continues the unpublished generation; if later, the next load
completes the work.
"""

import json
from collections.abc import Iterator

from totes.config.dsn import Dsn
from totes.duckdb_engine import scratch_folder
from totes.errors import LakeError, UsageError, WarehouseError
from totes.failpoint import reach
from totes.lake.folder import FolderStore
from totes.lake.manifest import (
    generation_path,
    manifest_path,
    processed_manifest_path,
)
from totes.lake.manifests import (
    find_current_generation,
    find_newest_number,
    read_processed_manifest,
)
from totes.lake.store import Store
from totes.progress import NO_PROGRESS, Progress
from totes.stages.load import load
from totes.stages.runner import (
    Pipeline,
    StepResult,
    check_is_not_source,
    load_step,
    run_stage,
    transform_step,
)
from totes.stages.transform import Cluster, write_generation
from totes.star.folder import Star
from totes.star.models import Models
from totes.warehouse.connection import connect
from totes.warehouse.schema import migrate


def replay(
    pipeline: Pipeline,
    *,
    into: Dsn | None = None,
    last_batch: int | None = None,
    cluster: Cluster | None = None,
    progress: Progress = NO_PROGRESS,
) -> Iterator[StepResult]:
    """Replay all batches, or those up to `last_batch`; yield the result of each step.

    Without `into`, a new generation replaces the current one, and the next run of the pipeline
    continues with the batch that follows. With `into`, an empty database, only a warehouse in it is
    built, by DuckDB, and the lake is not changed. Raises UsageError if there is no such batch,
    WarehouseError if `into` already has batches, and LakeError if a file is missing or damaged, or
    an interrupted replay had other models or batches.
    """
    _check_exists(pipeline.ingestion, last_batch)
    if into is None:
        yield from _replace_generation(pipeline, last_batch, cluster, progress)
    else:
        yield from _build_other_warehouse(
            pipeline.ingestion, into, pipeline.star, last_batch, progress
        )


def build_generation(  # noqa: PLR0913  stores, star and the options of the command
    ingestion: Store,
    processed: Store,
    star: Star,
    *,
    last_batch: int | None = None,
    cluster: Cluster | None = None,
    progress: Progress = NO_PROGRESS,
) -> Iterator[StepResult]:
    """Write the processed data of a replay, which the next replay publishes and loads.

    For a machine that does not reach the warehouse. Yields as `replay`, and raises UsageError and
    LakeError as it does.
    """
    _check_exists(ingestion, last_batch)
    generation = find_current_generation(processed) + 1
    _check_can_continue(processed, generation, star.models, last_batch)
    for manifest in write_generation(
        ingestion,
        processed,
        generation,
        star.models,
        last_batch=last_batch,
        cluster=cluster,
        progress=progress,
    ):
        yield transform_step(manifest)


def _check_exists(ingestion: Store, last_batch: int | None) -> None:
    """Raise UsageError if there is no batch to replay."""
    newest = find_newest_number(ingestion, manifest_path)
    if not newest or (last_batch or 0) > newest:
        raise UsageError(
            f"There is no batch {last_batch or 1} to replay in {ingestion.url}, "
            f"{f'the newest is {newest}' if newest else 'it is empty'}."
        )


def _replace_generation(
    pipeline: Pipeline, last_batch: int | None, cluster: Cluster | None, progress: Progress
) -> Iterator[StepResult]:
    processed, models = pipeline.processed, pipeline.star.models
    generation = find_current_generation(processed) + 1
    yield from build_generation(
        pipeline.ingestion,
        processed,
        pipeline.star,
        last_batch=last_batch,
        cluster=cluster,
        progress=progress,
    )
    # A concurrent replay may have written some of it.
    _check_can_continue(processed, generation, models, last_batch)
    reach("replay.before-pointer")
    pointer = json.dumps({"generation": generation, "models": models.digest}).encode()
    processed.create(generation_path(generation), pointer)
    reach("replay.published")
    if last_batch is None:  # batches ingested in the meantime: the warehouse must not lose them
        yield from run_stage(pipeline, "transform", progress=progress)
    yield from run_stage(pipeline, "load", progress=progress)


def _build_other_warehouse(
    ingestion: Store, into: Dsn, star: Star, last_batch: int | None, progress: Progress
) -> Iterator[StepResult]:
    check_is_not_source(ingestion, into)
    migrate(into, star)
    with connect(into) as connection:
        if connection.execute("SELECT FROM totes.batches LIMIT 1").fetchone() is not None:
            raise WarehouseError(
                f"{into} already has batches: replay into an empty database. If an interrupted "
                "replay wrote them, drop the database and create it again."
            )
    with scratch_folder("replay") as folder:
        processed = FolderStore(folder)
        for manifest in write_generation(
            ingestion, processed, 1, star.models, last_batch=last_batch, progress=progress
        ):
            yield transform_step(manifest)
            for loaded_manifest in load(processed, into, star, progress=progress):
                yield load_step(loaded_manifest)


def _check_can_continue(
    processed: Store, generation: int, models: Models, last_batch: int | None
) -> None:
    """Raise LakeError if this replay can't continue an unfinished generation."""
    newest = find_newest_number(processed, lambda batch: processed_manifest_path(generation, batch))
    if not newest:
        return
    manifest, _ = read_processed_manifest(processed, generation, newest)
    if manifest.models != models.digest or newest > (last_batch or newest):
        raise LakeError(
            f"Generation {generation} in {processed.url} is the unfinished result of another "
            f"replay: its newest batch {newest} was made by terrific-totes {manifest.program}, "
            "with other models or beyond the last batch requested. Ensure that no other replay "
            f"runs, delete generation={generation}/ there, which no reader uses, and replay again."
        )
