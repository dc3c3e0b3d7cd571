"""Keys: what may name an object, the same in every store."""

from totes.errors import LakeError


def checked(key: str, url: str) -> str:
    """`key` itself; LakeError where it could leave the store `url` or name two things.

    A first segment with a leading dot is the store's own business and hidden from lists.
    """
    segments = key.split("/")
    if (
        any(segment in {"", ".", ".."} for segment in segments)
        or key.startswith(".")
        or not key.isprintable()  # NUL, line ends, lone surrogates
        or "\\" in key
    ):
        raise LakeError(f"{key!r} can't be a key in {url}: it must be a plain relative path.")
    return key


def checked_prefix(prefix: str, url: str) -> str:
    """`prefix` without its closing slash; a prefix is whole segments of a key, or empty."""
    return prefix and checked(prefix.removesuffix("/"), url)
