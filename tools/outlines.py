"""Generate src/totes/dashboard/outlines.json, the countries' outlines as TopoJSON (needs npm).

The outlines are Natural Earth's (1:50 million, public domain), from the npm package `world-atlas`.
This projects them (Equal Earth, so that areas are comparable), simplifies them for a map on a page,
and names them by ISO 3166 code. Besides `countries`, the file has `discs`, which replace countries
that are too small to be visible.
"""

import json
import math
import subprocess
import tarfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pycountry

ROOT = Path(__file__).parent.parent
OUTLINES = ROOT / "src" / "totes" / "dashboard" / "outlines.json"

PACKAGE, DRAWING = "world-atlas@2.0.2", "package/countries-50m.json"

WIDTH = 2700
"""Width of the map; coordinates are integers."""

FINE = 4
"""Minimum distance of two points of a line; islands less than about twice as large are left out."""

DISC = 22
"""Radius of a disc, some pixels on a page."""

LEFT_OUT = {"AQ"}
"""Antarctica needs much space, and has no customers."""

NAMED = {"Kosovo": "XK", "N. Cyprus": "CY", "Somaliland": "SO"}
"""Countries of the data without an ISO number; others without one are uninhabited or seas."""

TERRITORIES = {
    "BQ": (-68.5, 12.0, -68.1, 12.4),
    "CC": (96.8, -12.3, 97.0, -11.8),
    "CX": (105.5, -10.6, 105.8, -10.4),
    "GF": (-55.0, 2.0, -51.0, 6.0),
    "GI": (-5.4, 36.1, -5.3, 36.2),
    "GP": (-62.0, 15.8, -61.0, 16.6),
    "MQ": (-61.3, 14.3, -60.7, 15.0),
    "RE": (55.0, -21.5, 56.0, -20.8),
    "SJ": (10.0, 74.0, 35.0, 82.0),
    "TK": (-172.6, -9.5, -171.1, -8.5),
    "TV": (176.0, -9.5, 179.9, -5.6),
    "YT": (45.0, -13.1, 45.4, -12.6),
}
"""Bounds of territories that Natural Earth has as parts of countries, or lacks: W, S, E, N."""

type Point = tuple[float, float]
type Line = list[tuple[int, int]]
type Rings = list[list[int]]
"""A polygon: its rings, each a list of arc numbers; `~n` is arc n backwards."""


class Atlas(NamedTuple):
    """The arcs of all outlines, in degrees, and each country's polygons."""

    arcs: list[list[Point]]
    countries: dict[str, list[Rings]]


def main() -> None:
    atlas = _parse(_download())
    lines = [_simplify([_project(*point) for point in arc]) for arc in atlas.arcs]
    shapes: dict[str, list[Rings]] = {}
    discs: dict[str, list[Rings]] = {}
    for code, polygons in sorted(atlas.countries.items()):
        ranked = sorted(polygons, key=lambda rings: _extent(lines, rings), reverse=True)
        shapes[code] = [
            rings
            for place, rings in enumerate(ranked)
            if place == 0 or _extent(lines, rings) > 2 * FINE
        ]
        if not ranked or _extent(lines, ranked[0]) < 2 * DISC:
            middle = _middle(lines, ranked[0]) if ranked else _middle_of(TERRITORIES[code])
            discs[code] = [[[len(lines)]]]
            lines.append(_disc(*middle, DISC))
            if not ranked or len(_ring(lines, ranked[0][0])) < 4:  # noqa: PLR2004  no area
                shapes[code] = [[[len(lines)]]]
                lines.append(_disc(*middle, FINE))
    OUTLINES.write_text(_topology(lines, {"countries": shapes, "discs": discs}), encoding="ascii")
    print(f"{OUTLINES.relative_to(ROOT)}: {len(shapes)} countries, {OUTLINES.stat().st_size} bytes")


def _download() -> Any:
    with TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", PACKAGE]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        [archive] = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extract(DRAWING, folder, filter="data")
        return json.loads(Path(folder, DRAWING).read_bytes())


def _parse(topology: Any) -> Atlas:
    (kx, ky), (dx, dy) = topology["transform"]["scale"], topology["transform"]["translate"]
    arcs = []
    for steps in topology["arcs"]:
        x = y = 0
        arc = []
        for step_x, step_y in steps:
            x, y = x + step_x, y + step_y
            arc.append((x * kx + dx, y * ky + dy))
        arcs.append(arc)
    countries: dict[str, list[Rings]] = {code: [] for code in TERRITORIES}
    for one in topology["objects"]["countries"]["geometries"]:
        country = pycountry.countries.get(numeric=one.get("id", ""))
        code = country.alpha_2 if country else NAMED.get(one["properties"]["name"])
        if code is None or code in LEFT_OUT:
            continue
        polygons = [one["arcs"]] if one["type"] == "Polygon" else one["arcs"]
        for rings in polygons:
            _unwrap(arcs, rings[0])
            countries.setdefault(_territory(arcs, rings) or code, []).append(rings)
    return Atlas(arcs, countries)


def _unwrap(arcs: list[list[Point]], numbers: list[int]) -> None:
    """Extend a ring that crosses 180 degrees beyond them, in place, as for Chukotka in Russia.

    No border between two countries crosses 180 degrees.
    """
    xs = [x for x, _ in _ring(arcs, numbers)]
    if max(abs(x - y) for x, y in pairwise(xs)) < 180:  # noqa: PLR2004
        return
    for number in numbers:
        arc = number if number >= 0 else ~number
        if min(x for x, _ in arcs[arc]) < 0:
            arcs[arc] = [(x + 360 if x < 0 else x, y) for x, y in arcs[arc]]


def _territory(arcs: list[list[Point]], rings: Rings) -> str | None:
    xs, ys = zip(*_ring(arcs, rings[0]), strict=True)
    for code, (west, south, east, north) in TERRITORIES.items():
        if west <= min(xs) and max(xs) <= east and south <= min(ys) and max(ys) <= north:
            return code
    return None


def _project(longitude: float, latitude: float) -> Point:
    """Return map coordinates in the Equal Earth projection (Šavrič, Patterson and Jenny 2018)."""
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    m = math.sqrt(3) / 2
    t = math.asin(m * math.sin(math.radians(latitude)))
    slope = 9 * a4 * t**8 + 7 * a3 * t**6 + 3 * a2 * t**2 + a1
    x = math.radians(longitude) * math.cos(t) / (m * slope)
    y = a4 * t**9 + a3 * t**7 + a2 * t**3 + a1 * t
    scale = WIDTH / (2 * math.pi / (m * a1))
    return x * scale, -y * scale


def _simplify(arc: list[Point]) -> Line:
    """Simplify an arc without moving its ends, so that neighbours keep a common border."""
    kept = [arc[0]]
    for x, y in arc[1:-1]:
        if abs(x - kept[-1][0]) + abs(y - kept[-1][1]) >= FINE:
            kept.append((x, y))
    return [(round(x), round(y)) for x, y in [*kept, arc[-1]]]


def _ring[P](arcs: list[list[P]], numbers: list[int]) -> list[P]:
    found: list[P] = []
    for number in numbers:
        arc = arcs[number] if number >= 0 else arcs[~number][::-1]
        found += arc[1:] if found else arc
    return found


def _extent(lines: list[Line], rings: Rings) -> int:
    xs, ys = zip(*_ring(lines, rings[0]), strict=True)
    return int(max(xs) - min(xs) + max(ys) - min(ys))


def _middle(lines: list[Line], rings: Rings) -> Point:
    xs, ys = zip(*_ring(lines, rings[0]), strict=True)
    return (min(xs) + max(xs)) / 2, (min(ys) + max(ys)) / 2


def _middle_of(box: tuple[float, float, float, float]) -> Point:
    west, south, east, north = box
    return _project((west + east) / 2, (south + north) / 2)


def _disc(x: float, y: float, radius: int) -> Line:
    corners = 16 if radius > FINE else 4
    angles = [math.tau * step / corners for step in range(corners)]
    ring = [(round(x + radius * math.cos(a)), round(y + radius * math.sin(a))) for a in angles]
    return [*ring, ring[0]]


def _topology(lines: list[Line], objects: dict[str, dict[str, list[Rings]]]) -> str:
    """Return the TopoJSON text with the arcs that are used, each as a point and steps from it."""
    numbers: dict[int, int] = {}

    def renumbered(number: int) -> int:
        arc = number if number >= 0 else ~number
        new = numbers.setdefault(arc, len(numbers))
        return new if number >= 0 else ~new

    def geometries(shapes: dict[str, list[Rings]]) -> Iterator[dict[str, object]]:
        for code, polygons in shapes.items():
            arcs = [[[renumbered(n) for n in ring] for ring in rings] for rings in polygons]
            yield {"type": "MultiPolygon", "id": code, "arcs": arcs}

    collections = {
        name: {"type": "GeometryCollection", "geometries": list(geometries(shapes))}
        for name, shapes in objects.items()
    }
    arcs = []
    for arc in numbers:
        starts = [(0, 0), *lines[arc]]
        arcs.append([(x - u, y - v) for (u, v), (x, y) in zip(starts, lines[arc], strict=False)])
    topology = {
        "type": "Topology",
        "transform": {"scale": [1, 1], "translate": [0, 0]},
        "source": f"{PACKAGE} of npm: Natural Earth 1:50m, public domain; tools/outlines.py",
        "objects": collections,
        "arcs": arcs,
    }
    return json.dumps(topology, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    main()
