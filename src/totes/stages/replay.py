"""Replay: processed data and warehouse made anew from the ingestion store.

A new generation is written beside the current one, and published with one create-only pointer when
it is complete; `load` then rebuilds the warehouse from it. Whatever is killed on the way: before
the pointer, the next replay goes on with the unpublished generation; behind it, the next load does
the rest.
"""

import json
from collections.abc import Iterator

from totes.config.settings import Dsn
from totes.engine import scratch_folder
from totes.errors import LakeError, UsageError, WarehouseError
from totes.failpoint import reach
from totes.lake.folder import FolderStore
from totes.lake.log import current_generation, newest, read_processed_manifest
from totes.lake.manifest import (
    generation_path,
    manifest_path,
    processed_manifest_path,
)
from totes.lake.store import Store
from totes.progress import QUIET, Progress
from totes.stages.load import load
from totes.stages.runner import Done, Pipeline, loaded, refuse_source, steps, transformed
from totes.stages.transform import write_generation
from totes.star.definition import Star
from totes.star.models import Models
from totes.warehouse.connection import connect
from totes.warehouse.schema import migrate


def replay(
    pipeline: Pipeline,
    *,
    into: Dsn | None = None,
    upto: int | None = None,
    progress: Progress = QUIET,
) -> Iterator[Done]:
    """Make our batches anew, or those of a new warehouse `into`; all, or those up to `upto`.

    Without `into`, the pipeline goes on with batch `upto` + 1 on its next run. With it, the lake
    stays as it is, and WarehouseError refuses a database that has batches already.
    """
    last = newest(pipeline.ingestion, manifest_path)
    if not last or (upto or 0) > last:
        raise UsageError(
            f"There is no batch {upto or 1} to replay in {pipeline.ingestion.url}, "
            f"{f'the newest is {last}' if last else 'it is empty'}."
        )
    if into is None:
        yield from _anew(pipeline, upto, progress)
    else:
        yield from _elsewhere(pipeline.ingestion, into, pipeline.star, upto, progress)


def _anew(pipeline: Pipeline, upto: int | None, progress: Progress) -> Iterator[Done]:
    processed, models = pipeline.processed, pipeline.star.models
    generation = current_generation(processed) + 1
    _check_begun(processed, generation, models, upto)
    for made in write_generation(
        pipeline.ingestion, processed, generation, models, upto=upto, progress=progress
    ):
        yield transformed(made)
    _check_begun(processed, generation, models, upto)  # a rival may have made some of it
    reach("replay.before-pointer")
    pointer = json.dumps({"generation": generation, "models": models.digest}).encode()
    processed.create(generation_path(generation), pointer)
    reach("replay.published")
    if upto is None:  # what was ingested meanwhile: the warehouse must not fall behind
        yield from steps(pipeline, "transform", progress=progress)
    yield from steps(pipeline, "load", progress=progress)


def _elsewhere(
    ingestion: Store, into: Dsn, star: Star, upto: int | None, progress: Progress
) -> Iterator[Done]:
    refuse_source(ingestion, into)
    migrate(into, star)
    with connect(into) as connection:
        if connection.execute("SELECT FROM totes.batches LIMIT 1").fetchone() is not None:
            raise WarehouseError(
                f"{into} has batches already: replay into an empty database. If it is what an "
                "interrupted replay left, drop it and create it anew."
            )
    with scratch_folder("totes-replay-") as folder:
        processed = FolderStore(folder)
        for made in write_generation(
            ingestion, processed, 1, star.models, upto=upto, progress=progress
        ):
            yield transformed(made)
            for taken in load(processed, into, star, progress=progress):
                yield loaded(taken)


def _check_begun(processed: Store, generation: int, models: Models, upto: int | None) -> None:
    """LakeError where an unfinished generation is not what this replay would have made."""
    done = newest(processed, lambda batch: processed_manifest_path(generation, batch))
    if not done:
        return
    made, _ = read_processed_manifest(processed, generation, done)
    if made.models != models.digest or done > (upto or done):
        raise LakeError(
            f"A replay has begun generation {generation} in {processed.url} and not finished it: "
            f"it has batch {done}, made by terrific-totes {made.program} with other models than "
            "these or beyond the batch asked for. Once no other replay runs, delete "
            f"generation={generation}/ there, which nothing reads, and replay again."
        )
