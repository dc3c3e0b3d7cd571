"""What the demonstration shows: one picture of everything, made from values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from totes.demo.answers import Answers, Country, Overdue, Version
from totes.demo.simulator import Event, Kind
from totes.stages.runner import STAGES, Done

EVENTS = 8
BATCHES = 8

LEFT, RIGHT = 13, 7
"""The shares of the width: what happens is told in longer lines than what is counted."""

LEAST_COLUMNS = 33
"""The least width of a panel; where two don't fit side by side, the second is left out."""

FEWEST_ROWS, MOST_ROWS = 5, BATCHES + 3
"""The height of a panel, its frame included."""

VERSIONS = 3
"""At least this many versions of an order are shown."""

_BAR = 18
_NAME = 27
_SILENT = "bold yellow"


@dataclass(frozen=True)
class Scene:
    """A moment of the demonstration; `events` and `steps` in the order of their happening.

    `address` is the dashboard's, empty where there is none.
    """

    now: datetime
    events: Sequence[Event] = ()
    steps: Sequence[Done] = ()
    answers: Answers = field(default_factory=Answers)
    address: str = ""


def picture(scene: Scene, columns: int, rows: int | None = None) -> RenderableType:
    """All of it, from top to bottom: about 30 lines of 100 columns, or what fits into `rows`.

    The history of the silent change is the last to be left out, the answers are the first.
    """
    head = [_freshness(scene)]
    if scene.address:
        head.append(Text(f" The dashboard: {scene.address}", no_wrap=True, overflow="ellipsis"))
    versions = scene.answers.order
    if rows is not None:
        versions = versions[-max(VERSIONS, rows - len(head) - 2 * MOST_ROWS - _AROUND) :]
    history = _history(versions)
    left = 10 * MOST_ROWS if rows is None else rows - len(head) - len(versions) - _AROUND
    panels = []
    for pair in (
        (
            ("totesys: the business", _events(scene.events)),
            ("batches: rows by stage", _flow(scene.steps)),
        ),
        (
            ("sales this month, by country", _sales(scene.answers.sales)),
            ("overdue payments", _overdue(scene.answers.overdue)),
        ),
    ):
        height = min(left, MOST_ROWS)
        if height >= FEWEST_ROWS:
            panels.append(_pair(*pair, columns, height))
            left -= height
    return Group(*head, *panels, history)


_AROUND = 4
"""The lines of the history's panel that are not versions."""


def _pair(
    one: tuple[str, RenderableType], other: tuple[str, RenderableType], columns: int, height: int
) -> RenderableType:
    """Two panels side by side, or the first alone where there is no room for both."""
    right = max(LEAST_COLUMNS, columns * RIGHT // (LEFT + RIGHT))
    pair = Table.grid(expand=True, padding=(0, 1))
    pair.add_column(ratio=1)
    if columns - right < LEAST_COLUMNS:
        pair.add_row(_panel(*one, height))
        return pair
    pair.add_column(width=right)
    pair.add_row(_panel(*one, height), _panel(*other, height))
    return pair


def _panel(title: str, content: RenderableType, height: int) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="dim", height=height)


def _freshness(scene: Scene) -> Text:
    return Text.assemble(
        (" Terrific Totes ", "bold reverse"),
        "   data to ",
        (_ago(scene.now, scene.answers.data_to), "bold green"),
        ", checked ",
        (_ago(scene.now, scene.answers.checked_at), "bold green"),
        no_wrap=True,
        overflow="ellipsis",
    )


def _ago(now: datetime, at: datetime | None) -> str:
    return "…" if at is None else f"{max((now - at).total_seconds(), 0):.1f} s ago"


def _events(events: Sequence[Event]) -> RenderableType:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim", no_wrap=True, min_width=len("Mon 08:00"))
    lines.add_column(no_wrap=True, overflow="ellipsis")
    for event in events[-EVENTS:]:
        style = _SILENT if event.kind is Kind.SILENT or "silently" in event.text else ""
        lines.add_row(
            f"{event.at:%a %H:%M}", Text(event.text, style, no_wrap=True, overflow="ellipsis")
        )
    return lines


def _flow(steps: Sequence[Done]) -> RenderableType:
    """The last batches, and which stages they have passed."""
    rows: dict[int, dict[str, int]] = {}
    for step in steps:
        if step.batch is not None:
            rows.setdefault(step.batch, {})[step.stage] = step.rows
    lines = Table.grid(padding=(0, 1), expand=True)
    for _ in ("batch", *STAGES):
        lines.add_column(justify="right", no_wrap=True)
    lines.add_row(*(Text(name, "dim") for name in ("batch", "ingest", "transform", "load")))
    for batch in sorted(rows)[-EVENTS:]:
        passed = rows[batch]
        marks = [
            Text(f"{passed[stage]:,}", "green") if stage in passed else Text("·", "dim")
            for stage in STAGES[:2]
        ]
        lines.add_row(
            str(batch), *marks, Text("✓", "green") if "load" in passed else Text("·", "dim")
        )
    return lines


def _sales(countries: Sequence[Country]) -> RenderableType:
    lines = Table.grid(padding=(0, 1))
    lines.add_column(no_wrap=True, max_width=_NAME, overflow="ellipsis")
    lines.add_column(justify="right", min_width=9)
    lines.add_column()
    lines.add_row(Text(""), Text("bags", "dim"), Text(""))
    most = max((country.bags for country in countries), default=1)
    for country in countries:
        bar = "█" * max(1, round(_BAR * country.bags / most))
        lines.add_row(country.country, f"{country.bags:,}", Text(bar, "cyan"))
    return lines


def _overdue(overdue: Sequence[Overdue]) -> RenderableType:
    if not overdue:
        return Text("none", "dim")
    lines = Table.grid(padding=(0, 2))
    lines.add_column()
    lines.add_column(justify="right")
    lines.add_column(justify="right")
    lines.add_row(*(Text(name, "dim") for name in ("", "payments", "amount")))
    for one in overdue:
        lines.add_row(one.currency_code, f"{one.payments:,}", f"{one.amount:,.2f}")
    return lines


def _history(versions: Sequence[Version]) -> RenderableType:
    """An order's versions below each other, what changed marked."""
    if not versions:
        return _titled("no order was changed in silence yet", Text(""))
    lines = Table.grid(padding=(0, 2))
    for _ in range(5):
        lines.add_column(no_wrap=True, overflow="ellipsis")
    lines.add_row(
        *(Text(name, "dim") for name in ("seen at", "sold by", "design", "delivery", "to"))
    )
    before: tuple[str, ...] = ()
    for version in versions:
        cells = (version.sold_by, version.design, str(version.delivery), version.city)
        was = before or cells
        marked = [
            Text(cell, "" if cell == old else _SILENT) for cell, old in zip(cells, was, strict=True)
        ]
        lines.add_row(f"{version.valid_from:%H:%M:%S}", *marked)
        before = cells
    last = versions[-1]
    said = Text(
        f"totesys says it was last updated {last.last_updated:%Y-%m-%d %H:%M:%S}, all along.",
        "dim",
        no_wrap=True,
        overflow="ellipsis",
    )
    title = f"the history of sale {last.sales_order_id}, which changed in silence"
    return _titled(title, Group(lines, said))


def _titled(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="dim")
