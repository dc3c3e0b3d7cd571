"""Keys: what may name an object, the same in every store."""

from totes.errors import LakeError


def is_key(name: str) -> bool:
    """Whether it is a plain relative path, which stays within a store and names one thing.

    A first segment with a leading dot is for the store's own use and hidden from lists.
    """
    return not (
        any(segment in {"", ".", ".."} for segment in name.split("/"))
        or name.startswith(".")
        or not name.isprintable()  # NUL, line ends, lone surrogates
        or "\\" in name
    )


def checked(key: str, url: str) -> str:
    """`key` itself; LakeError where it can't be one in the store `url`."""
    if not is_key(key):
        raise LakeError(f"{key!r} can't be a key in {url}: it must be a plain relative path.")
    return key


def checked_prefix(prefix: str, url: str) -> str:
    """`prefix` without its closing slash; a prefix is whole segments of a key, or empty."""
    return prefix and checked(prefix.removesuffix("/"), url)
