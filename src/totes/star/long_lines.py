"""Reduce long JSON lines to the columns that models read, in constant memory."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator

from totes.star.contract import MAX_TEXT_BYTES

_NAME = re.compile(rb'[{,]"(?:[^"\\\n]|\\.)*+":')
_ESCAPE = rb"\\(?:u[0-9a-fA-F]{4}|[^u])"
_IN_TEXT = re.compile(rb'[^"\\\n]*+(?:%b[^"\\\n]*+)*+' % _ESCAPE)
_OTHER = re.compile(rb'[^"{\[,}\s]++|\{(?:[^"{}]++|"(?:[^"\\]++|\\.)*+")*+\}')
"""A number or literal, or the flat object that replaces an unreadable value."""

_MAX_TOKEN_BYTES = 1 << 15
"""No column name, number or object in place of an unreadable value is longer."""

_MAX_ESCAPE_BYTES = 6
"""The size in JSON of one byte of text, if it is escaped."""

_ESCAPES = re.compile(rb"(?:%b)+" % _ESCAPE)

LONG_TEXT_SUFFIX = "… (SHA-256 of the text: {})"
"""Follows the beginning of a text that is too long."""


class NotAnObject(ValueError):
    """A line is not a flat JSON object."""


def reduce_line(
    partial_line: bytes, chunks: Iterator[bytes], read: Collection[str]
) -> tuple[bytes, bytes]:
    """Return a line with null in every column that is not in `read`, and the bytes after the line.

    The line begins with `partial_line` and continues in `chunks`. A text of more than
    `MAX_TEXT_BYTES`, which the contract rejects, is truncated and gets the SHA-256 of the whole
    text, so that different texts stay different. Raises NotAnObject.
    """
    rest = _Remaining(partial_line, chunks)
    members = []
    while name := rest.take(_NAME):
        members.append(name[1:] + _parse_value(rest, is_read=json.loads(name[1:-1]) in read))
    if not (members and rest.skip(b"}\n")):
        raise NotAnObject
    return b"{" + b",".join(members) + b"}\n", rest.buffer[rest.at :]


def _parse_value(rest: "_Remaining", *, is_read: bool) -> bytes:
    if not rest.skip(b'"'):
        other = rest.take(_OTHER)
        if not other:
            raise NotAnObject
        return other if is_read else b"null"
    content, size_bytes, sha256 = bytearray(), 0, hashlib.sha256()
    for piece in rest.text():
        if is_read:
            text = _ESCAPES.sub(_unescape, piece)
            size_bytes += len(text)
            sha256.update(text)
            if len(content) <= _MAX_ESCAPE_BYTES * MAX_TEXT_BYTES:
                content += piece
    if not is_read:
        return b"null"
    if size_bytes <= MAX_TEXT_BYTES:
        return b'"%b"' % bytes(content)
    text = json.loads(b'"%b"' % content.decode(errors="ignore").encode()).encode(errors="ignore")
    beginning = text[:MAX_TEXT_BYTES].decode(errors="ignore")
    suffix = LONG_TEXT_SUFFIX.format(sha256.hexdigest())
    return json.dumps(f"{beginning}{suffix}", ensure_ascii=False).encode()


def _unescape(escapes: re.Match[bytes]) -> bytes:
    """Return the text of escapes in JSON."""
    try:
        return str(json.loads(b'"%b"' % escapes[0])).encode(errors="surrogatepass")
    except ValueError:
        raise NotAnObject from None


class _Remaining:
    """The part of a line that is not parsed yet: `buffer` from position `at`, then `chunks`."""

    def __init__(self, buffer: bytes, chunks: Iterator[bytes]) -> None:
        self.buffer = buffer
        self.at = 0
        self._chunks = chunks

    def take(self, token: re.Pattern[bytes]) -> bytes:
        """Return the next token and move past it; return b"" if it does not match."""
        self._fill_buffer()
        if (match := token.match(self.buffer, self.at)) is None:
            return b""
        self.at = match.end()
        return match[0]

    def skip(self, token: bytes) -> bool:
        """Move past this token; return false if the next token is a different one."""
        self._fill_buffer()
        is_there = self.buffer.startswith(token, self.at)
        self.at += is_there * len(token)
        return is_there

    def text(self) -> Iterator[bytes]:
        """Yield the pieces of a text up to its closing quote; none ends within an escape."""
        while True:
            match = _IN_TEXT.match(self.buffer, self.at)
            if match is None:  # impossible: it also matches the empty string
                raise NotAnObject
            self.at = match.end()
            yield match[0]
            if self.buffer.startswith(b'"', self.at):
                self.at += 1
                break
            is_cut = len(self.buffer) - self.at < _MAX_ESCAPE_BYTES
            if not (is_cut and self._read_chunk()):
                raise NotAnObject

    def _fill_buffer(self) -> None:
        """Read until the buffer has the whole next token."""
        while len(self.buffer) - self.at < _MAX_TOKEN_BYTES and self._read_chunk():
            pass

    def _read_chunk(self) -> bool:
        chunk = next(self._chunks, b"")
        self.buffer, self.at = self.buffer[self.at :] + chunk, 0
        return bool(chunk)
