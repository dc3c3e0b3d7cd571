"""Draw docs/pictures: the demonstration's view as SVG, and every SVG as PNG.

Needs Chromium, as the tests of the dashboard do, and a minute, so it is not part of `make docs`.
"""

import re
import subprocess
from collections import deque
from datetime import UTC, datetime
from io import StringIO
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from totes.config.resources import Resources
from totes.config.settings import Settings
from totes.demo import simulator
from totes.demo.answers import query_answers
from totes.demo.run import MIX, SEED, fill_until
from totes.demo.view import DemoState, render
from totes.stages.runner import StepResult, run_once

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
COLUMNS = 104
PNG_WIDTH = 1450
BATCHES, EVENTS_A_BATCH = 9, 30

# DejaVu's letters are 0.602 of their size wide. No font is downloaded.
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
    """Return the view of `totes demo` after some batches, as SVG."""
    events: list[simulator.Event] = []
    steps: list[StepResult] = []
    with TemporaryDirectory() as home, Resources(Settings(home=Path(home))) as resources:
        deque(fill_until(resources.source_owner, simulator.wall_clock().date()), maxlen=0)
        steps += run_once(resources.pipeline)
        with simulator.Simulator(
            resources.source_owner, seed=SEED, mix=MIX, clock=simulator.wall_clock
        ) as business:
            stream = business.run(rate=None)
            for _ in range(BATCHES):
                events += islice(stream, EVENTS_A_BATCH)
                steps += run_once(resources.pipeline)
        answers = query_answers(resources.warehouse_reader)
        state = DemoState(datetime.now(UTC), events, steps, answers)
    console = Console(record=True, width=COLUMNS, file=StringIO())
    console.print(render(state, COLUMNS))
    return console.export_svg(
        title="totes demo", code_format=FRAME, font_aspect_ratio=WIDTH_OF_A_LETTER
    )


def convert(drawing: Path) -> None:
    """Write an SVG file as PNG, 1450 pixels wide, beside it."""
    svg = drawing.read_text(encoding="utf-8")
    [view_box] = re.findall(r'viewBox="([^"]+)"', svg.partition(">")[0])
    _, _, width, height = map(float, view_box.split())
    page = f"<style>body{{margin:0}}svg{{display:block;width:{PNG_WIDTH}px;height:auto}}</style>"
    with TemporaryDirectory() as folder:
        html = Path(folder) / "drawing.html"
        html.write_text(f"<!doctype html>{page}{svg}", encoding="utf-8")
        command = [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--hide-scrollbars",
            f"--window-size={PNG_WIDTH},{round(PNG_WIDTH * height / width)}",
            f"--screenshot={drawing.with_suffix('.png')}",
            html.as_uri(),
        ]
        subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    (PICTURES / "demo.svg").write_text(demonstration(), encoding="utf-8")
    for drawn in PICTURES.glob("*.svg"):
        convert(drawn)
