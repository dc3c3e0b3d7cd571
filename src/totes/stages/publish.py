"""Publish: the contract with `totes.lakehouse`, which is not imported if nothing is published."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from totes.lake.store import Store
from totes.progress import Progress


@dataclass(frozen=True)
class Publication:
    """Batches that were published together, usually one; `batch` and `captured_at` of the last."""

    batch: int
    rows: int
    captured_at: datetime


class BatchPublisher(Protocol):
    """Publishes batches outside of the warehouse, as Iceberg tables."""

    def publish(self, processed: Store, progress: Progress) -> Iterator[Publication]:
        """Publish all pending batches and yield what was published."""
        ...
