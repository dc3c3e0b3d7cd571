"""Release: have refused rows tried again, with the models as they are now.

A release is itself a batch, so it moves through the stages, and through a replay, as any other.
"""

from collections.abc import Collection
from datetime import timedelta

from totes.errors import UsageError
from totes.failpoint import reach
from totes.lake.log import check_unused
from totes.lake.manifest import Manifest, manifest_path
from totes.lake.store import Store
from totes.stages.ingest import newest_batch

_TICK = timedelta(microseconds=1)


def release(store: Store, batches: Collection[int]) -> Manifest:
    """Publish a batch that brings nothing new and names `batches` to be tried again.

    UsageError where one of them doesn't exist.
    """
    wanted = tuple(sorted(set(batches)))
    while True:
        newest = newest_batch(store)
        if not wanted or newest is None or not 1 <= wanted[0] <= wanted[-1] <= newest[0].batch:
            raise UsageError(
                f"There are no such batches to release: {', '.join(map(str, wanted)) or 'none'}. "
                "See `totes quarantine list`."
            )
        last, digest = newest
        manifest = Manifest(
            batch=last.batch + 1,
            previous=digest,
            captured_at=last.captured_at + _TICK,  # it looked at nothing: the data is no fresher
            snapshot=last.snapshot,
            identity=last.identity,
            tables=tuple(
                table.model_copy(update={"files": (), "whole": False}) for table in last.tables
            ),
            released=wanted,
            former=last.former,
            left_out=last.left_out,
        )
        check_unused(store, manifest_path, manifest.batch)
        reach("release.before-manifest")
        if store.create(manifest_path(manifest.batch), manifest.to_json()):
            reach("release.published")
            return manifest
