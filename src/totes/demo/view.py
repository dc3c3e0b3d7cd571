"""The demo's view in the terminal, rendered from values."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from totes.demo.answers import Answers, Country, Overdue, Version
from totes.demo.simulator import Event, Kind
from totes.stages.runner import STAGES, StepResult

MAX_EVENTS = 8
MAX_BATCHES = 8

LEFT_SHARE, RIGHT_SHARE = 13, 7
"""The ratio of the widths of two panels side by side."""

MIN_PANEL_COLUMNS = 33
"""If two panels of this width don't fit side by side, the second is omitted."""

MIN_PANEL_ROWS, MAX_PANEL_ROWS = 5, MAX_BATCHES + 3
"""The height of a panel with its border."""

MIN_VERSIONS = 3
"""At least this many versions of an order are shown."""

_MAX_BAR_LENGTH = 18
_MAX_NAME_LENGTH = 27
_SILENT_STYLE = "bold yellow"


@dataclass(frozen=True)
class DemoState:
    """The values that are shown; `events` and `steps` are in the order of time.

    `address` is the dashboard's, empty without a dashboard.
    """

    now: datetime
    events: Sequence[Event] = ()
    steps: Sequence[StepResult] = ()
    answers: Answers = field(default_factory=Answers)
    address: str = ""


def render(state: DemoState, columns: int, rows: int | None = None) -> RenderableType:
    """Return the view: about 30 lines of 100 columns, or what fits into `rows`.

    Without enough rows the answers are omitted first, the versions of the changed order last.
    """
    head = [_render_freshness(state)]
    if state.address:
        head.append(Text(f" The dashboard: {state.address}", no_wrap=True, overflow="ellipsis"))
    versions, brief = state.answers.order, state.answers.brief
    if rows is not None and rows < _MIN_ROWS_WITH_BRIEF:
        brief = ()
    if rows is not None and brief:
        rows -= len(brief) + _HISTORY_OTHER_ROWS
    if rows is not None:
        free = rows - len(head) - 2 * MAX_PANEL_ROWS - _HISTORY_OTHER_ROWS
        versions = versions[-max(MIN_VERSIONS, free) :]
    history = [_render_history(versions, "which was changed silently")]
    if brief:
        history.append(_render_history(brief, "which was changed, and changed back at once"))
    free = 10 * MAX_PANEL_ROWS
    if rows is not None:
        free = rows - len(head) - len(versions) - _HISTORY_OTHER_ROWS
    panels = []
    for pair in (
        (
            ("totesys: the business", _render_events(state.events)),
            ("batches: rows by stage", _render_batches(state.steps)),
        ),
        (
            ("sales this month, by country", _render_sales(state.answers.sales)),
            ("overdue payments", _render_overdue(state.answers.overdue)),
        ),
    ):
        height = min(free, MAX_PANEL_ROWS)
        if height >= MIN_PANEL_ROWS:
            panels.append(_pair_panels(*pair, columns, height))
            free -= height
    return Group(*head, *panels, *history)


_HISTORY_OTHER_ROWS = 4
"""The lines of a history's panel that are not versions."""

_MIN_ROWS_WITH_BRIEF = 30
"""With fewer rows, the history of the order that was changed back at once is not shown."""


def _pair_panels(
    left: tuple[str, RenderableType], right: tuple[str, RenderableType], columns: int, height: int
) -> RenderableType:
    """Return two panels side by side, or the left one if both don't fit."""
    right_columns = max(MIN_PANEL_COLUMNS, columns * RIGHT_SHARE // (LEFT_SHARE + RIGHT_SHARE))
    pair = Table.grid(expand=True, padding=(0, 1))
    pair.add_column(ratio=1)
    if columns - right_columns < MIN_PANEL_COLUMNS:
        pair.add_row(_panel(*left, height))
        return pair
    pair.add_column(width=right_columns)
    pair.add_row(_panel(*left, height), _panel(*right, height))
    return pair


def _panel(title: str, content: RenderableType, height: int) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="dim", height=height)


def _render_freshness(state: DemoState) -> Text:
    return Text.assemble(
        (" Terrific Totes ", "bold reverse"),
        "   data to ",
        (_ago(state.now, state.answers.data_to), "bold green"),
        ", checked ",
        (_ago(state.now, state.answers.checked_at), "bold green"),
        no_wrap=True,
        overflow="ellipsis",
    )


def _ago(now: datetime, at: datetime | None) -> str:
    return "…" if at is None else f"{max((now - at).total_seconds(), 0):.1f} s ago"


def _render_events(events: Sequence[Event]) -> RenderableType:
    lines = Table.grid(padding=(0, 2))
    lines.add_column(style="dim", no_wrap=True, min_width=len("Mon 08:00:00"))
    lines.add_column(no_wrap=True, overflow="ellipsis")
    for event in events[-MAX_EVENTS:]:
        style = _SILENT_STYLE if event.kind is Kind.SILENT or "silently" in event.text else ""
        lines.add_row(
            f"{event.at:%a %H:%M:%S}", Text(event.text, style, no_wrap=True, overflow="ellipsis")
        )
    return lines


def _render_batches(steps: Sequence[StepResult]) -> RenderableType:
    """Return the last batches, with their rows in each stage that is complete."""
    rows_by_batch: dict[int, dict[str, int]] = {}
    for step in steps:
        if step.batch is not None:
            rows_by_batch.setdefault(step.batch, {})[step.stage] = step.rows
    lines = Table.grid(padding=(0, 1), expand=True)
    for _ in ("batch", *STAGES):
        lines.add_column(justify="right", no_wrap=True)
    lines.add_row(*(Text(name, "dim") for name in ("batch", "ingest", "transform", "load")))
    for batch in sorted(rows_by_batch)[-MAX_BATCHES:]:
        rows = rows_by_batch[batch]
        cells = [
            Text(f"{rows[stage]:,}", "green") if stage in rows else Text("·", "dim")
            for stage in STAGES[:2]
        ]
        lines.add_row(
            str(batch), *cells, Text("✓", "green") if "load" in rows else Text("·", "dim")
        )
    return lines


def _render_sales(countries: Sequence[Country]) -> RenderableType:
    lines = Table.grid(padding=(0, 1))
    lines.add_column(no_wrap=True, max_width=_MAX_NAME_LENGTH, overflow="ellipsis")
    lines.add_column(justify="right", min_width=9)
    lines.add_column()
    lines.add_row(Text(""), Text("bags", "dim"), Text(""))
    most = max((country.bags for country in countries), default=1)
    for country in countries:
        bar = "█" * max(1, round(_MAX_BAR_LENGTH * country.bags / most))
        lines.add_row(country.country, f"{country.bags:,}", Text(bar, "cyan"))
    return lines


def _render_overdue(currencies: Sequence[Overdue]) -> RenderableType:
    if not currencies:
        return Text("none", "dim")
    lines = Table.grid(padding=(0, 2))
    lines.add_column()
    lines.add_column(justify="right")
    lines.add_column(justify="right")
    lines.add_row(*(Text(name, "dim") for name in ("", "payments", "amount")))
    for currency in currencies:
        lines.add_row(currency.currency_code, f"{currency.payments:,}", f"{currency.amount:,.2f}")
    return lines


def _render_history(versions: Sequence[Version], what: str) -> RenderableType:
    """Return the versions of an order, with changed values marked; `what` ends the title."""
    if not versions:
        return _history_panel("no order was changed silently yet", Text(""))
    lines = Table.grid(padding=(0, 2))
    for _ in range(5):
        lines.add_column(no_wrap=True, overflow="ellipsis")
    lines.add_row(
        *(Text(name, "dim") for name in ("valid from", "sold by", "design", "delivery", "to"))
    )
    previous: tuple[str, ...] = ()
    for version in versions:
        cells = (version.sold_by, version.design, str(version.delivery), version.city)
        marked = [
            Text(cell, "" if cell == old else _SILENT_STYLE)
            for cell, old in zip(cells, previous or cells, strict=True)
        ]
        lines.add_row(f"{version.valid_from:%H:%M:%S}", *marked)
        previous = cells
    last = versions[-1]
    note = Text(
        f"last_updated in totesys is {last.last_updated:%Y-%m-%d %H:%M:%S} in every version.",
        "dim",
        no_wrap=True,
        overflow="ellipsis",
    )
    title = f"the history of sale {last.sales_order_id}, {what}"
    return _history_panel(title, Group(lines, note))


def _history_panel(title: str, content: RenderableType) -> Panel:
    return Panel(content, title=title, title_align="left", border_style="dim")
