"""Long lines of JSON are reduced to the columns that models read, in constant memory."""

import hashlib
import json
import re
from collections.abc import Collection, Iterator

from totes.star.contract import LONGEST_TEXT_BYTES

_NAME = re.compile(rb'[{,]"(?:[^"\\\n]|\\.)*+":')
_IN_TEXT = re.compile(rb'[^"\\\n]*+(?:\\.[^"\\\n]*+)*+')
_OTHER = re.compile(rb'[^"{\[,}\s]++|\{(?:[^"{}]++|"(?:[^"\\]++|\\.)*+")*+\}')
"""A number or word, or the flat object that replaces a value that could not be read."""

_LONGEST_TOKEN_BYTES = 1 << 15
"""No column name, number or object in place of an unreadable value is longer."""

_ESCAPE_BYTES = 6
"""The most that one byte of a text takes in JSON."""


class NotAnObject(ValueError):
    """A line is not one flat JSON object."""


def cut_line(begun: bytes, chunks: Iterator[bytes], read: Collection[str]) -> tuple[bytes, bytes]:
    """A line with null for each column that is not in `read`, and what follows the line.

    `begun` is the beginning of the line, `chunks` are what follows. A text of more than
    `LONGEST_TEXT_BYTES`, which the contract refuses, is cut and gets the SHA-256 of the whole, so
    that different texts stay different.
    """
    rest = _Unread(begun, chunks)
    members = []
    while name := rest.take(_NAME):
        members.append(name[1:] + _value(rest, is_read=json.loads(name[1:-1]) in read))
    if not (members and rest.skip(b"}\n")):
        raise NotAnObject
    return b"{" + b",".join(members) + b"}\n", rest.buffer[rest.at :]


def _value(rest: "_Unread", *, is_read: bool) -> bytes:
    if not rest.skip(b'"'):
        other = rest.take(_OTHER)
        if not other:
            raise NotAnObject
        return other if is_read else b"null"
    kept, size_bytes, sha256 = bytearray(), 0, hashlib.sha256()
    for piece in rest.text():
        if is_read:
            size_bytes += len(piece)
            sha256.update(piece)
            if len(kept) <= _ESCAPE_BYTES * LONGEST_TEXT_BYTES:
                kept += piece
    if not is_read:
        return b"null"
    if size_bytes > LONGEST_TEXT_BYTES:
        text = json.loads(b'"%b"' % kept.decode(errors="ignore").encode()).encode(errors="ignore")
        if len(text) > LONGEST_TEXT_BYTES:
            beginning = text[:LONGEST_TEXT_BYTES].decode(errors="ignore")
            return json.dumps(
                f"{beginning}… (SHA-256 of all: {sha256.hexdigest()})", ensure_ascii=False
            ).encode()
    return b'"%b"' % bytes(kept)


class _Unread:
    """The part of a line that is not parsed yet: in `buffer` from `at` on, then in `chunks`."""

    def __init__(self, buffer: bytes, chunks: Iterator[bytes]) -> None:
        self.buffer = buffer
        self.at = 0
        self._chunks = chunks

    def take(self, token: re.Pattern[bytes]) -> bytes:
        """The next token if it matches, and move past it; else nothing."""
        self._fill()
        if (found := token.match(self.buffer, self.at)) is None:
            return b""
        self.at = found.end()
        return found[0]

    def skip(self, token: bytes) -> bool:
        """Whether this is the next token, and move past it."""
        self._fill()
        found = self.buffer.startswith(token, self.at)
        self.at += found * len(token)
        return found

    def text(self) -> Iterator[bytes]:
        """A text's pieces up to its closing quote; none ends within an escape."""
        while True:
            found = _IN_TEXT.match(self.buffer, self.at)
            if found is None:  # impossible: it also matches the empty string
                raise NotAnObject
            self.at = found.end()
            yield found[0]
            if self.at < len(self.buffer) - 1 or self.buffer.endswith(b'"', self.at):
                break
            if not self._more():
                raise NotAnObject
        if not self.skip(b'"'):
            raise NotAnObject

    def _fill(self) -> None:
        """Read until the buffer has the next token to its end."""
        while len(self.buffer) - self.at < _LONGEST_TOKEN_BYTES and self._more():
            pass

    def _more(self) -> bool:
        chunk = next(self._chunks, b"")
        self.buffer, self.at = self.buffer[self.at :] + chunk, 0
        return bool(chunk)
