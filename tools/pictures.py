"""Draw docs/pictures anew: the demonstration's view as SVG, and every SVG as PNG.

Needs rsvg-convert, which nothing else here does; so it is no part of `make docs`.
"""

import subprocess
from datetime import UTC, datetime, timedelta
from io import StringIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from totes.config.resources import Places
from totes.config.settings import Settings
from totes.demo import simulator
from totes.demo.answers import ask
from totes.demo.run import MIX, SEED
from totes.demo.view import Scene, picture
from totes.stages.runner import Done, run_once

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
COLUMNS = 104
BATCHES, EVENTS_A_BATCH = 9, 30

# DejaVu's letters are 0.602 of their size wide. No font is fetched from anywhere.
WIDTH_OF_A_LETTER = 0.602
FRAME = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg" xml:space="preserve">
<style>
.{unique_id}-title {{ font-family: DejaVu Sans, sans-serif; font-size: 16px; }}
.{unique_id}-matrix {{ font-family: DejaVu Sans Mono, Menlo, monospace;
  font-size: {char_height}px; line-height: {line_height}px; }}
{styles}
</style>
<defs>{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def demonstration() -> str:
    """The view of `totes demo` after a while of business, as SVG."""
    events: list[simulator.Event] = []
    steps: list[Done] = []
    with TemporaryDirectory() as home, Places(Settings(home=Path(home))) as places:
        first_day = datetime.now(UTC).date() - timedelta(weeks=9)
        simulator.bulk(places.business, orders=1_000, seed=SEED, first_day=first_day)
        steps += run_once(places.pipeline)
        with simulator.Simulator(places.business, seed=SEED, mix=MIX) as business:
            happening = business.run(rate=None)
            for _ in range(BATCHES):
                events += islice(happening, EVENTS_A_BATCH)
                steps += run_once(places.pipeline)
        scene = Scene(datetime.now(UTC), events, steps, ask(places.analyst))
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(picture(scene, COLUMNS))
    return console.export_svg(
        title="totes demo", code_format=FRAME, font_aspect_ratio=WIDTH_OF_A_LETTER
    )


if __name__ == "__main__":
    (PICTURES / "demo.svg").write_text(demonstration(), encoding="utf-8")
    for drawn in PICTURES.glob("*.svg"):
        made = drawn.with_suffix(".png")
        subprocess.run(["rsvg-convert", "--width=1450", f"--output={made}", drawn], check=True)
