"""Write what is generated from the star's declaration and models, so that it can't drift."""

from collections.abc import Callable
from pathlib import Path

from totes.star.definition import TOTESYS
from totes.star.models import LINEAGE_FILE, lineages

STAR = Path(__file__).parent.parent / "src" / "totes" / "star" / "totesys"

GENERATED: dict[Path, Callable[[], bytes]] = {
    STAR / "models" / LINEAGE_FILE: lambda: lineages(TOTESYS.models)
}
"""Content by file."""

if __name__ == "__main__":
    for path, content in GENERATED.items():
        path.write_bytes(content())
