"""Progress of long work: log lines, the bar on a terminal, and ages."""

import json
import os
import re
import shlex
from datetime import timedelta
from io import StringIO

import pytest
import screen
from command import COMMAND
from installation import Installation
from rich.console import Console
from rich.progress import Progress as Bars

from totes.cli import terminal

pytestmark = [pytest.mark.usefixtures("no_pauses"), pytest.mark.few(2)]


def test_long_work_logs_a_line_every_few_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    lines = terminal.LogLines()
    with caplog.at_level("INFO", "totes"):
        lines.start("load batch 1", 2_000_000)
        lines.advance(1_000)
        assert not caplog.messages
        monkeypatch.setattr(terminal, "LOG_EVERY_SECONDS", 0.0)
        lines.advance(500_000)
        lines.start("ingest")
        lines.advance(7)
    assert caplog.messages == ["load batch 1: 501,000 of 2,000,000 rows", "ingest: 7 rows"]


def test_a_terminal_shows_one_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Console(file=StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(terminal, "err", lambda: screen)
    with terminal.show_progress() as bar:
        bar.start("load batch 1", 10)
        bar.advance(4)
        assert isinstance(bar, terminal.Bar)
        assert isinstance(bar._bars, Bars)
        [task] = bar._bars.tasks
        assert (task.description, task.completed, task.total) == ("load batch 1", 4, 10)
        bar.start("ingest")
        [task] = bar._bars.tasks
        assert (task.description, task.completed, task.total) == ("ingest", 0, None)


@pytest.mark.few(1)
@pytest.mark.parametrize("command", [["run", "--once"], ["replay"]])
def test_a_terminal_shows_lines_above_the_bar_which_is_removed(
    installation: Installation, command: list[str]
) -> None:
    installation.add_orders()
    if command == ["replay"]:
        installation.run()
    shown = screen.run([*COMMAND, *command], os.environ | installation.environment, columns=100)
    assert "\x1b[2K" in shown.written, "a bar was drawn"
    assert shown.exit_code == 0
    *lines, prompt = shown.lines
    assert prompt == ""
    stages = {"run": ["ingest", "transform", "load"], "replay": ["transform", "load"]}[command[0]]
    steps = [line for line in lines if not line.startswith("_prisma_migrations is left out")]
    for stage, line in zip(stages, steps, strict=True):
        assert re.fullmatch(rf"{stage} +batch 1 +[\d,]+ rows   as of .* UTC", line)


def test_a_terminal_shows_json_lines_above_the_bar(installation: Installation) -> None:
    command = [*COMMAND, "run", "--once", "--json"]
    shown = screen.run(command, os.environ | installation.add_orders().environment, columns=100)
    assert "\x1b[2K" in shown.written, "a bar was drawn"
    assert len([line for line in shown.lines if line.startswith('{"stage": ')]) == 3


def test_piped_output_does_not_appear_on_the_terminal_with_the_bar(
    installation: Installation,
) -> None:
    installation.add_orders()
    command = f"{shlex.join(COMMAND)} run --once --json >{installation.folder}/piped"
    shown = screen.run(["sh", "-c", command], os.environ | installation.environment)
    assert "batch 1" in shown.written, "a bar was drawn"
    assert '"stage"' not in shown.written
    piped = (installation.folder / "piped").read_text().splitlines()
    assert [json.loads(line)["stage"] for line in piped] == ["ingest", "transform", "load"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (119, "119 s"), (600, "10 min"), (9000, "2.5 h"), (300_000, "3 d")],
)
def test_ages_are_printed_in_a_suitable_unit(seconds: int, text: str) -> None:
    assert terminal.format_duration(timedelta(seconds=seconds)) == text
    assert terminal.format_duration(None) == "never"
