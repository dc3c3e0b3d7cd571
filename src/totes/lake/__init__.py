"""The lake: stores of immutable objects, and the manifests in them."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from totes.errors import UsageError
from totes.lake.store import DeletableStore, Store

__all__ = ["DeletableStore", "Store", "open_deletable_store", "open_store"]


def open_store(url: str) -> Store:
    """Return the store at a folder's path, `file:///folder` or `s3://bucket/prefix`.

    Nothing is read yet. Raises UsageError for any other URL.
    """
    return open_deletable_store(url)


def open_deletable_store(url: str) -> DeletableStore:
    """Return the same store with the methods that list and delete all objects.

    Raises UsageError if the URL is neither that of a bucket or prefix on S3 nor a folder.
    """
    parts = urlsplit(url)
    has_no_options = not (parts.query or parts.fragment or "@" in parts.netloc)
    match parts.scheme:
        case "s3" if parts.netloc and has_no_options:
            from totes.lake.s3 import S3Store  # noqa: PLC0415  boto3 is slow to import

            return S3Store(url)
        case "file" if parts.netloc in {"", "localhost"} and parts.path and has_no_options:
            folder = unquote(parts.path)
        case "" if url:
            folder = url
        case _:
            raise UsageError(
                "The URL of a store must be a folder's path, file:///folder or "
                f"s3://bucket/prefix, without a password or options; not {parts.scheme or 'empty'}."
            )
    from totes.lake.folder import FolderStore  # noqa: PLC0415

    try:
        return FolderStore(Path(folder))
    except (OSError, RuntimeError) as error:
        reason = "the working directory was deleted" if isinstance(error, OSError) else str(error)
        raise UsageError(
            f"The folder {folder} can't be found ({reason}): correct the path, or write the "
            "absolute path."
        ) from error
