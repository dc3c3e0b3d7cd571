"""Write src/totes/dashboard/outlines.json anew, the countries' outlines as a TopoJSON (needs npm).

They are Natural Earth's, in the public domain (1:50 million), out of the npm package `world-atlas`.
Here they are projected (Equal Earth, so that areas compare), made as coarse as a map on a page may
be, and named by ISO 3166 code. Besides `countries` the file has `discs`: what to draw instead of a
country that is too small to be seen.
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
"""Units of the map: the drawing's coordinates are whole ones."""

FINE = 4
"""Units: points of a line nearer to each other are one, islands not much larger are left out."""

DISC = 22
"""Units from the middle of a disc to its edge: some pixels."""

LEFT_OUT = {"AQ"}
"""Antarctica takes much room, and buys no bags."""

NAMED = {"Kosovo": "XK", "N. Cyprus": "CY", "Somaliland": "SO"}
"""Those without an ISO number; others of that kind are uninhabited or a part of their sea."""

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
"""What Natural Earth has as parts of other countries, or lacks: west, south, east, north."""

type Point = tuple[float, float]
type Line = list[tuple[int, int]]
type Rings = list[list[int]]
"""A polygon: its rings, each made of arcs by number; `~n` is the arc n backwards."""


class Atlas(NamedTuple):
    """The lines that outlines are made of, in degrees, and each country's polygons."""

    arcs: list[list[Point]]
    countries: dict[str, list[Rings]]


def main() -> None:
    atlas = _named(_packed())
    lines = [_coarse([_projected(*point) for point in arc]) for arc in atlas.arcs]
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


def _packed() -> Any:
    with TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", PACKAGE]
        subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
        [archive] = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as packed:
            packed.extract(DRAWING, folder, filter="data")
        return json.loads(Path(folder, DRAWING).read_bytes())


def _named(topology: Any) -> Atlas:
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
        known = pycountry.countries.get(numeric=one.get("id", ""))
        code = known.alpha_2 if known else NAMED.get(one["properties"]["name"])
        if code is None or code in LEFT_OUT:
            continue
        polygons = [one["arcs"]] if one["type"] == "Polygon" else one["arcs"]
        for rings in polygons:
            _unwrap(arcs, rings[0])
            countries.setdefault(_territory(arcs, rings) or code, []).append(rings)
    return Atlas(arcs, countries)


def _unwrap(arcs: list[list[Point]], numbers: list[int]) -> None:
    """Let a ring that crosses 180 degrees go on beyond them, in place: Chukotka is Russia's east.

    Nowhere is that a border with another country.
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


def _projected(longitude: float, latitude: float) -> Point:
    """Equal Earth (Šavrič, Patterson and Jenny 2018), in units of the map, downwards."""
    a1, a2, a3, a4 = 1.340264, -0.081106, 0.000893, 0.003796
    m = math.sqrt(3) / 2
    t = math.asin(m * math.sin(math.radians(latitude)))
    slope = 9 * a4 * t**8 + 7 * a3 * t**6 + 3 * a2 * t**2 + a1
    x = math.radians(longitude) * math.cos(t) / (m * slope)
    y = a4 * t**9 + a3 * t**7 + a2 * t**3 + a1 * t
    scale = WIDTH / (2 * math.pi / (m * a1))
    return x * scale, -y * scale


def _coarse(arc: list[Point]) -> Line:
    """Its ends stay where they are, so that neighbours keep one border."""
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
    return _projected((west + east) / 2, (south + north) / 2)


def _disc(x: float, y: float, radius: int) -> Line:
    corners = 16 if radius > FINE else 4
    angles = [math.tau * step / corners for step in range(corners)]
    ring = [(round(x + radius * math.cos(a)), round(y + radius * math.sin(a))) for a in angles]
    return [*ring, ring[0]]


def _topology(lines: list[Line], objects: dict[str, dict[str, list[Rings]]]) -> str:
    """Those of the lines that are used, each as its first point and the steps from it."""
    numbers: dict[int, int] = {}

    def renumbered(number: int) -> int:
        arc = number if number >= 0 else ~number
        new = numbers.setdefault(arc, len(numbers))
        return new if number >= 0 else ~new

    def geometries(shapes: dict[str, list[Rings]]) -> Iterator[dict[str, object]]:
        for code, polygons in shapes.items():
            arcs = [[[renumbered(n) for n in ring] for ring in rings] for rings in polygons]
            yield {"type": "MultiPolygon", "id": code, "arcs": arcs}

    made = {
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
        "objects": made,
        "arcs": arcs,
    }
    return json.dumps(topology, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    main()
