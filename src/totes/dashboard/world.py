"""Codes and names of countries, and their outlines for a map.

`outlines.json` is a TopoJSON of Natural Earth's outlines, projected and simplified for the size of
the map. `make outlines` makes it.
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
"""Codes of names in use that ISO 3166 doesn't have."""


@lru_cache(1024)  # bounded, as a URL may contain any name
def code_of(name: str) -> str | None:
    """Return the ISO 3166 code of a country's English name; None if it is unknown."""
    if code := _SHORT.get(name.strip().lower()):
        return code
    try:
        found: str = pycountry.countries.lookup(name).alpha_2
    except LookupError:
        return None
    return found


def name_in(names: Iterable[str], code: object) -> str | None:
    """Return the first of the names that is a name of the country with this code."""
    return next((name for name in names if code_of(name) == code), None)


def name_of(code: str) -> str:
    """Return a country's usual name; its code if it is unknown."""
    if code == "XK":  # not in ISO 3166
        return "Kosovo"
    country = pycountry.countries.get(alpha_2=code)
    return getattr(country, "common_name", country.name) if country else code


def code_on_map(name: str) -> str | None:
    """Return the code of a country on the map; None if the map has no such country."""
    code = code_of(name)
    return code if code in _outlines() else None


def topology(
    properties: Callable[[str], Mapping[str, object]], highlighted: Collection[str]
) -> Any:
    """Return a TopoJSON with the object `countries`, each with its code and `properties`.

    Highlighted countries are drawn over others, and as a disc if they are very small.
    """
    discs = {code: disc for code, disc in _outlines("discs").items() if code in highlighted}
    outlines = _outlines() | discs
    geometries = [
        {**outlines[code], "properties": properties(code)}
        for code in sorted(outlines, key=lambda code: code in highlighted)
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
    """Return the geometries of one of the file's two objects, by code."""
    return {one["id"]: one for one in _file()["objects"][kind]["geometries"]}
