"""Countries by name, and their outlines for a map, which need no network.

`outlines.json` is a TopoJSON of Natural Earth's outlines, already projected and as coarse as a map
on a page may be. `make outlines` makes it.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import pycountry

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
    "kosovo": "XK",
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
    if code == "XK":  # not in ISO 3166
        return "Kosovo"
    found = pycountry.countries.get(alpha_2=code)
    return getattr(found, "common_name", found.name) if found else code


def code_on_map(name: str) -> str | None:
    """The code of a country that the map has; None where it has none by that name."""
    code = code_of(name)
    return code if code in _outlines() else None


def topology(properties: Callable[[str], Mapping[str, object]], seen: Collection[str]) -> Any:
    """The countries as a TopoJSON: its object `countries`, each with its code and `properties`.

    The codes in `seen` are to be found by the eye: they lie over others, and one that is too small
    is a disc.
    """
    drawn = _outlines() | {code: disc for code, disc in _outlines("discs").items() if code in seen}
    geometries = [
        {**drawn[code], "properties": properties(code)}
        for code in sorted(drawn, key=lambda code: code in seen)
    ]
    countries = {"type": "GeometryCollection", "geometries": geometries}
    return {**_file(), "objects": {"countries": countries}}


@cache
def _file() -> dict[str, Any]:
    text = (files("totes.dashboard") / "outlines.json").read_text(encoding="ascii")
    found: dict[str, Any] = json.loads(text)
    return found


@cache
def _outlines(kind: str = "countries") -> dict[str, Any]:
    """The geometries of one of the file's two objects, by code."""
    return {one["id"]: one for one in _file()["objects"][kind]["geometries"]}
