"""Random values of PostgreSQL's types, as texts that their input functions take."""

import ipaddress
import json
import struct
import uuid
from collections.abc import Callable, Mapping
from random import Random

from source_types import MATRIX, Value

SPECIAL = 0.25
"""The share of draws that are values of the matrix."""

_ALPHABET = " aZ09'\"\\,;:{}[]()<>|&!*%$@~`#=+-_/.?\t\n\x01\x7fé東\u200d\u202e🎉\U0010ffff"


def text(chance: Random, longest: int = 12) -> str:
    """Return a text of characters with a special meaning, and of any others."""
    length = chance.randrange(longest + 1)
    return "".join(
        chance.choice(_ALPHABET) if chance.random() < 0.8 else _any_character(chance)
        for _ in range(length)
    )


def _any_character(chance: Random) -> str:
    code = chance.randrange(1, 0x110000 - 0x800)
    return chr(code if code < 0xD800 else code + 0x800)


def _integer(bits: int) -> Callable[[Random], str]:
    return lambda chance: str(
        chance.getrandbits(chance.randrange(1, bits)) * chance.choice((1, -1))
    )


def _digits(chance: Random) -> str:
    whole, fraction = (chance.randrange(10**p) for p in chance.choices((1, 4, 20, 90), k=2))
    return f"{chance.choice(('', '-'))}{whole}.{'0' * chance.randrange(9)}{fraction}"


def _float(size: str) -> Callable[[Random], str]:
    """Return a function that draws a float of random bits."""

    def draw(chance: Random) -> str:
        bits = chance.randbytes(struct.calcsize(size))
        return repr(struct.unpack(size, bits)[0]) if size == "d" else _shortest(bits)

    return draw


def _shortest(bits: bytes) -> str:
    return f"{struct.unpack('f', bits)[0]:.9g}"


def _day(chance: Random) -> str:
    year, month, day = chance.randint(1, 5_800_000), chance.randint(1, 12), chance.randint(1, 28)
    return f"{year if chance.random() < 0.5 else year % 4000 + 1:04}-{month:02}-{day:02}"


def _moment(chance: Random) -> str:
    era = " BC" if chance.random() < 0.2 else ""
    day = f"{chance.randint(1, 4000):04}-{chance.randint(1, 12):02}-{chance.randint(1, 28):02}"
    return f"{day} {_time(chance)}{era}"


def _time(chance: Random) -> str:
    hour, minute, second = chance.randrange(24), chance.randrange(60), chance.randrange(60)
    return f"{hour:02}:{minute:02}:{second:02}.{chance.randrange(10**6):06}"


def _zone(chance: Random) -> str:
    return f"{chance.choice('+-')}{chance.randrange(16):02}:{chance.randrange(60):02}"


def _interval(chance: Random) -> str:
    months, days, micros = (int(_integer(bits)(chance)) for bits in (31, 31, 62))
    return f"{months} mons {days} days {micros} microseconds"


def _document(chance: Random, depth: int = 3) -> str:
    """Return JSON text, which may have duplicate keys, unusual blanks and long numbers."""
    blank = chance.choice(("", "", " ", "\n\t"))
    kind = chance.randrange(6 if depth else 4)
    if kind == 4:
        return f"[{blank}{','.join(_document(chance, depth - 1) for _ in range(3))}]"
    if kind == 5:
        names = chance.choices(("a", "b", text(chance)), k=4)
        members = (f"{json.dumps(n)}{blank}:{_document(chance, depth - 1)}" for n in names)
        return f"{{{','.join(members)}}}"
    return (
        chance.choice(("null", "true", "-0", "1e5", "{}", "[]")),
        _digits(chance),
        json.dumps(text(chance)),
        json.dumps(text(chance), ensure_ascii=False),
    )[kind]


def _bits(chance: Random) -> str:
    return "".join(chance.choices("01", k=chance.randrange(99)))


def _network(chance: Random) -> ipaddress.IPv4Interface | ipaddress.IPv6Interface:
    if chance.random() < 0.5:
        return ipaddress.IPv4Interface((chance.getrandbits(32), chance.randint(0, 32)))
    return ipaddress.IPv6Interface((chance.getrandbits(128), chance.randint(0, 128)))


def _point(chance: Random) -> str:
    return f"({_float('d')(chance)},{_float('d')(chance)})"


def _points(chance: Random) -> str:
    return ",".join(_point(chance) for _ in range(chance.randint(1, 4)))


def _lexemes(chance: Random) -> str:
    words = ("'" + text(chance).replace("\\", "\\\\").replace("'", "''") + "x'" for _ in range(3))
    return " ".join(f"{word}:{chance.randint(1, 16383)}{chance.choice('ABCD')}" for word in words)


def _integers(chance: Random, bits: int) -> str:
    low, high = sorted(int(_integer(bits)(chance)) for _ in range(2))
    return chance.choice((f"[{low},{high}]", f"(,{high}]", f"[{low},)", f"({low},{high}]"))


DRAWS: Mapping[str, Callable[[Random], str]] = {
    "smallint": _integer(15),
    "integer": _integer(31),
    "bigint": _integer(63),
    "numeric": _digits,
    "real": _float("f"),
    "double precision": _float("d"),
    "money": lambda chance: f"{int(_integer(56)(chance)) / 100:.2f}",
    "text": lambda chance: text(chance, 60),
    "character varying": text,
    "character(5)": lambda chance: text(chance, 5),
    "name": lambda chance: text(chance, 15),
    "bytea": lambda chance: "\\x" + chance.randbytes(chance.randrange(99)).hex(),
    "bit varying": _bits,
    "date": _day,
    "time without time zone": _time,
    "time with time zone": lambda chance: _time(chance) + _zone(chance),
    "timestamp without time zone": _moment,
    "timestamp with time zone": _moment,
    "interval": _interval,
    "uuid": lambda chance: str(uuid.UUID(bytes=chance.randbytes(16))),
    "json": _document,
    "jsonb": _document,
    "jsonpath": lambda chance: f"$.{json.dumps(text(chance))}[{chance.randrange(9)}] ? (@ > 1.50)",
    "inet": lambda chance: str(_network(chance)),
    "cidr": lambda chance: str(_network(chance).network),
    "macaddr": lambda chance: chance.randbytes(6).hex(),
    "macaddr8": lambda chance: chance.randbytes(8).hex(),
    "point": _point,
    "lseg": lambda chance: f"[{_point(chance)},{_point(chance)}]",
    "box": lambda chance: f"{_point(chance)},{_point(chance)}",
    "path": lambda chance: f"[{_points(chance)}]",
    "polygon": lambda chance: f"({_points(chance)})",
    "circle": lambda chance: f"<{_point(chance)},{chance.random()}>",
    "tsvector": _lexemes,
    "oid": lambda chance: str(chance.getrandbits(32)),
    "tid": lambda chance: f"({chance.getrandbits(32)},{chance.getrandbits(16)})",
    "xid": lambda chance: str(chance.getrandbits(32)),
    "xid8": lambda chance: str(chance.getrandbits(64)),
    "pg_lsn": lambda chance: f"{chance.getrandbits(32):X}/{chance.getrandbits(32):X}",
    "int4range": lambda chance: _integers(chance, 31),
    "int8range": lambda chance: _integers(chance, 63),
    "numrange": lambda chance: _integers(chance, 63),
    "int4multirange": lambda chance: f"{{{_integers(chance, 31)},{_integers(chance, 31)}}}",
    "nummultirange": lambda chance: f"{{{_integers(chance, 63)},{_integers(chance, 63)}}}",
}
"""By type; all others are drawn from the matrix alone."""


def draw(chance: Random, type_: str) -> Value:
    if type_ in DRAWS and chance.random() >= SPECIAL:
        return DRAWS[type_](chance)
    return chance.choice(MATRIX[type_])
