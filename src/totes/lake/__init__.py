"""The lake: stores of immutable objects, and the log of manifests in them."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from totes.errors import UsageError
from totes.lake.store import Store, SweptStore

__all__ = ["Store", "SweptStore", "open_store", "open_swept"]


def open_store(url: str) -> Store:
    """The store at a folder's path, `file:///folder` or `s3://bucket/prefix`; nothing is read yet.

    UsageError where it is none of these.
    """
    return open_swept(url)


def open_swept(url: str) -> SweptStore:
    """The same for whoever sweeps it."""
    parts = urlsplit(url)
    plain = not (parts.query or parts.fragment or "@" in parts.netloc)
    match parts.scheme:
        case "s3" if parts.netloc and plain:
            from totes.lake.s3 import S3Store  # noqa: PLC0415  a folder needs no S3 driver

            return S3Store(url)
        case "file" if parts.netloc in {"", "localhost"} and parts.path and plain:
            folder = unquote(parts.path)
        case "" if url:
            folder = url
        case _:
            raise UsageError(
                "The URL of a store must be a folder's path, file:///folder or "
                f"s3://bucket/prefix, without a password or options: not {parts.scheme or 'empty'}."
            )
    from totes.lake.folder import FolderStore  # noqa: PLC0415

    try:
        return FolderStore(Path(folder))
    except (OSError, RuntimeError) as error:
        reason = "the working directory is gone" if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"The folder {folder} can't be found ({reason}): correct the path, or write it in full."
        ) from error
