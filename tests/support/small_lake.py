"""A small ingestion store: three batches, with rejected rows and deletions."""

from pathlib import Path

from lake_writer import LakeWriter, row

KEYS = range(1, 41)


def write_small_lake(folder: Path) -> Path:
    """Write the lake to `folder`, and return it."""
    writer = LakeWriter(folder)
    designs = [row("design", design_id=n, file_location=f"/{n}") for n in KEYS]
    rejected = [design | {"file_name": None} for design in designs[:3]]
    joined = {table: [row(table)] for table in ("staff", "department")}  # for the driver
    writer.add({"design": [*designs[3:], *rejected], **joined}, parts=2)
    writer.add({"design": designs[:9]})
    writer.add({"payment_type": [row("payment_type")]}, deletes={"design": [1, 2]})
    return folder
