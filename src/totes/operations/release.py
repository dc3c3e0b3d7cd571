"""Release: try rejected rows again with the current models.

A release is a batch, so stages and replays process it like any other.
"""

from collections.abc import Collection
from datetime import timedelta

from totes.errors import UsageError
from totes.failpoint import reach
from totes.lake.manifest import Manifest, manifest_path
from totes.lake.manifests import check_number_unused
from totes.lake.store import Store
from totes.stages.ingest import read_newest_manifest

_TICK = timedelta(microseconds=1)


def release(store: Store, batches: Collection[int]) -> Manifest:
    """Publish a batch without files that names the batches whose rejected rows are tried again.

    Raises UsageError if one of them does not exist.
    """
    released = tuple(sorted(set(batches)))
    while True:
        newest = read_newest_manifest(store)
        if (
            not released
            or newest is None
            or not 1 <= released[0] <= released[-1] <= newest[0].batch
        ):
            raise UsageError(
                f"There are no such batches to release: {', '.join(map(str, released)) or 'none'}. "
                "See `totes quarantine show`."
            )
        last, digest = newest
        manifest = Manifest(
            batch=last.batch + 1,
            previous=digest,
            captured_at=last.captured_at + _TICK,  # nothing was captured: the data is not fresher
            snapshot=last.snapshot,
            identity=last.identity,
            tables=tuple(
                table.model_copy(update={"files": (), "whole": False, "of_log": False})
                for table in last.tables
            ),
            released=released,
            former=last.former,
            left_out=last.left_out,
            log=last.log and last.log.model_copy(update={"gap": None}),
        )
        check_number_unused(store, manifest_path, manifest.batch)
        reach("release.before-manifest")
        if store.create(manifest_path(manifest.batch), manifest.to_json()):
            reach("release.published")
            return manifest
