"""Validation of keys, the names of objects; the same rules for every store."""

from totes.errors import LakeError


def is_valid_key(name: str) -> bool:
    """Return whether a name is a plain relative path, which can't leave the store.

    Names that begin with a dot are reserved for the store's own files and not listed.
    """
    return not (
        any(segment in {"", ".", ".."} for segment in name.split("/"))
        or name.startswith(".")
        or not name.isprintable()  # NUL, line ends, lone surrogates
        or "\\" in name
    )


def validate_key(key: str, url: str) -> str:
    """Return `key`; LakeError, which names the store `url`, if it is not valid."""
    if not is_valid_key(key):
        raise LakeError(f"{key!r} can't be a key in {url}: it must be a plain relative path.")
    return key


def validate_prefix(prefix: str, url: str) -> str:
    """Return `prefix` without its trailing slash; it must be empty or whole segments of a key."""
    return prefix and validate_key(prefix.removesuffix("/"), url)
