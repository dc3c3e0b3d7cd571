"""Transform: batches of the ingestion store become batches of the star, in Parquet.

For every ingestion batch after the newest processed one: fetch and check its files, run the models
that read a table that changed, prove their rows against the contract, store the Parquet, and last
of all the manifest, which publishes the batch or, where another transform was first, nothing.
"""

import secrets
from collections.abc import Collection, Iterator, Mapping
from itertools import count, takewhile
from pathlib import Path
from tempfile import TemporaryDirectory

from totes.engine import open_engine, scratch_folder
from totes.errors import LakeError, ModelError, ObjectMissing
from totes.failpoint import reach
from totes.lake.log import (
    current_generation,
    fetch_checked,
    newest,
    read_manifest,
    read_processed_manifest,
)
from totes.lake.manifest import (
    Manifest,
    ProcessedManifest,
    digest,
    manifest_path,
    processed_manifest_path,
)
from totes.lake.store import Store
from totes.progress import QUIET, Progress
from totes.stages.transform.build import Build, Built, Site, unpacking
from totes.star.definition import TOTESYS, Star
from totes.star.models import Models


def transform(
    ingestion: Store, processed: Store, star: Star = TOTESYS, *, progress: Progress = QUIET
) -> Iterator[ProcessedManifest]:
    """Make what is pending in the current generation; a manifest for each batch published.

    Raises LakeError naming a file that is missing or damaged, and ModelError naming the model and
    the batch it can't run on. Neither publishes anything, and the next call goes on there.
    """
    generation = current_generation(processed)
    yield from write_generation(ingestion, processed, generation, star.models, progress=progress)


def write_generation(  # noqa: PLR0913  what a replay chooses
    ingestion: Store,
    processed: Store,
    generation: int,
    models: Models,
    *,
    upto: int | None = None,
    progress: Progress = QUIET,
) -> Iterator[ProcessedManifest]:
    """Make the batches that `generation` lacks, none beyond `upto`, with these models."""

    def path(batch: int) -> str:
        return processed_manifest_path(generation, batch)

    def pending(batch: int) -> bool:
        return (upto is None or batch <= upto) and ingestion.exists(manifest_path(batch))

    done = newest(processed, path)
    last = read_processed_manifest(processed, generation, done) if done else None
    if last is not None:
        _check_lineage(ingestion, processed, last[0])
    if not pending(done + 1):
        return
    with scratch_folder("totes-") as scratch, open_engine(scratch) as engine:
        site = Site(ingestion, processed, generation, models, engine, scratch)
        for batch in takewhile(pending, count(done + 1)):
            made = _build(site, batch, last, progress)
            content = made.to_json()
            reach("transform.before-manifest")
            if processed.create(path(batch), content):
                reach("transform.published")
                last = made, digest(content)
                yield made
            else:  # another transform was first: go on from its batch
                last = read_processed_manifest(processed, generation, batch)


def _check_lineage(ingestion: Store, processed: Store, last: ProcessedManifest) -> None:
    """LakeError where the newest processed batch was made from another ingestion store.

    Said also when nothing is pending: a wrong store would otherwise look like a quiet source.
    """
    try:
        _, ingested = read_manifest(ingestion, last.batch)
    except ObjectMissing:
        ingested = None
    if ingested != last.ingested:
        raise LakeError(
            f"Batch {last.batch}, the newest in {processed.url}, was not made from that of "
            f"{ingestion.url}: see that the two stores belong together."
        )


def _build(
    site: Site, number: int, last: tuple[ProcessedManifest, str] | None, progress: Progress
) -> ProcessedManifest:
    """Store all of a batch but its manifest; `last` is the processed one before, and its digest."""
    source, ingested = read_manifest(site.ingestion, number)
    if last is not None and source.previous != last[0].ingested:
        raise LakeError(
            f"Batch {number} in {site.ingestion.url} does not follow the batch {number - 1} that "
            f"{site.processed.url} was made from: see that the two stores belong together."
        )
    if last is not None and source.captured_at <= last[0].captured_at:
        raise LakeError(
            f"Batch {number} in {site.ingestion.url} was captured before the batch {number - 1} "
            "that it follows: restore its manifest from a backup."
        )
    changed = {table.name for table in source.tables if table.files}
    waited = last[0].waiting if last else {}
    waiting = _waiting(site, source, changed, waited)
    progress.start(f"transform batch {number}", source.rows, number)
    attempt = f"{number:012d}-{secrets.token_hex(4)}"
    with (
        TemporaryDirectory(dir=site.scratch) as folder,
        unpacking(site, source, site.models.tables, Path(folder)) as lines,
    ):
        build = Build(site, source, Path(folder), f"{attempt}-0.parquet", lines)
        before = last[0].state if last else {}
        kept = build.keep(before if last else None)
        built: list[Built] = []
        for model in site.models.all:
            if model.lineage.stars:
                continue
            if model.name in waiting:
                if model.identifies_deletes(source):
                    built.append(build.run(model, kept, deletes_only=True))
            elif model.name in waited or changed & model.lineage.sources.keys():
                built.append(build.run(model, kept, since=waited.get(model.name)))
                progress.advance(built[-1].rows)
        for part, earlier in enumerate(source.released, start=1):
            built += _retry(build, earlier, f"{attempt}-{part}.parquet")
        following = site.models.reading_star(one.model.name for one in built if one.taken)
        build.define_stars(following, built)
        stars = {
            model.name: before.get(model.name, ())
            for model in site.models.all
            if model.lineage.stars
        }
        made = [build.run(model, stars) for model in following]
        stars |= {one.model.name: (*stars[one.model.name], one.taken) for one in made if one.taken}
        built += made
        build.store()
    return ProcessedManifest(
        batch=number,
        previous=last[1] if last else None,
        captured_at=source.captured_at,
        generation=site.generation,
        ingested=ingested,
        files=tuple(one.taken for one in built if one.taken),
        refused=tuple(one.refused for one in built if one.refused),
        state={**kept, **{name: files for name, files in stars.items() if files}},
        models=site.models.digest,
        waiting=waiting,
    )


def _waiting(
    site: Site, source: Manifest, changed: Collection[str], waited: Mapping[str, int]
) -> dict[str, int]:
    """The models that leave this batch out, and since which they do.

    What a model needs is gone from the source in this batch, and there again in the newest: its
    table was captured whole then, so the model can make up for what it left out. Where it isn't
    there in the newest either, ModelError: the batch waits until source or model are mended.
    """
    absent = {former.table.name for former in source.former if former.reason == "absent"}
    waiting = {}
    for model in site.models.all:
        concerned = model.name in waited or (set(changed) | absent) & model.lineage.sources.keys()
        if not concerned or (obstacle := model.obstacle(source)) is None:
            continue
        later = newest(site.ingestion, manifest_path, at_least=source.batch)
        mended = model.obstacle(read_manifest(site.ingestion, later)[0]) is None
        if not (mended and model.can_backfill):
            raise ModelError(obstacle)
        waiting[model.name] = waited.get(model.name, source.batch)
    return waiting


def _retry(build: Build, number: int, name: str) -> Iterator[Built]:
    """The rows that batch `number` refused, as of that batch, through the models of today."""
    site = build.site
    source, _ = read_manifest(site.ingestion, number)
    made, _ = read_processed_manifest(site.processed, site.generation, number)
    models = {model.name: model for model in site.models.all}
    for file in made.refused:
        if file.table not in models:
            raise LakeError(
                f"Batch {number} in {site.processed.url} refused rows of {file.table}, "
                "which is no star table: restore its manifest from a backup."
            )
    refused = [(models[file.table], file) for file in made.refused]
    tables = {table for model, _ in refused for table in model.lineage.sources}
    folder = build.folder / name
    folder.mkdir()
    with unpacking(site, source, tables, folder) as lines:
        earlier = Build(site, source, folder, name, lines, build.made)
        for model, file in refused:
            if not model.lineage.stars:
                keys = folder / f"{model.name}.keys.parquet"
                fetch_checked(site.processed, file, keys)
                lacking = model.name in made.waiting
                if not lacking:
                    model.check(source)
                yield earlier.run(model, made.state, only=keys, deletes_only=lacking)
