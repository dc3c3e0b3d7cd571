"""The pages a stranger follows: what they link to is there, what they say to type is understood."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from totes.cli import app
from totes.config.settings import PREFIX, Settings

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DEPLOYED = sorted((ROOT / "deploy").iterdir())

page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@page
def test_every_link_leads_somewhere(page: Path) -> None:
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            missing.append(target)
    assert not missing


@page
def test_every_file_of_ours_that_is_named_exists(page: Path) -> None:
    ours = "src|docs|tests|tools|deploy|data|benchmarks"
    named = re.findall(rf"(?<![\w./])(?:{ours})/[\w./-]*[\w/]", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("text", [path.read_text() for path in [*PAGES, *DEPLOYED]])
def test_every_setting_that_is_named_exists(text: str) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", text)) <= known


@page
def test_every_command_is_understood(page: Path) -> None:
    wrong = [line for line in _commands(page.read_text()) if not _is_understood(line)]
    assert not wrong


@page
def test_every_make_target_exists(page: Path) -> None:
    targets = re.findall(r"^\.PHONY: ([\w-]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    code = "\n".join(_code(page.read_text()))
    assert set(re.findall(r"^make ([a-z-]+)", code, re.MULTILINE)) <= set(targets)


@pytest.mark.parametrize(
    ("line", "understood"),
    [
        ("totes run --once", True),
        ("totes replay --into DSN --to 1200", True),
        ("totes quarantine release 3", True),
        ("totes warehouse", True),
        ("totes run --twice", False),
        ("totes fly", False),
        ("totes warehouse fly", False),
    ],
)
def test_a_command_is_understood_only_if_the_program_has_it(line: str, *, understood: bool) -> None:
    assert _is_understood(line) is understood


def test_the_readme_shows_every_decision_and_picture_by_a_link() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "](docs/decisions)" in readme
    for drawn in (ROOT / "docs" / "pictures").glob("*.svg"):
        assert f"](docs/pictures/{drawn.stem}.png)" in readme


def test_decisions_are_numbered_without_a_gap() -> None:
    found = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [int(path.name[:4]) for path in found]
    assert numbers == list(range(1, len(found) + 1))
    for number, path in zip(numbers, found, strict=True):
        assert path.read_text().startswith(f"# {number}. ")


def test_every_guarantee_is_held_by_tests_that_exist() -> None:
    text = (ROOT / "docs" / "guarantees.md").read_text()
    named = set(re.findall(r"`(test_\w+\.py)::(test_\w+)`", text))
    missing = [
        f"{file}::{test}"
        for file, test in sorted(named)
        if not re.search(rf"^def {test}\(", _text_of_test(file), re.MULTILINE)
    ]
    assert not missing
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    assert all("::test_" in section for section in sections)


def _text_of_test(name: str) -> str:
    """A test file, whichever folder it is in."""
    [found] = (ROOT / "tests").rglob(name)
    return found.read_text()


def _anchors(page: Path) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _code(text: str) -> Iterator[str]:
    """What stands in fenced blocks, line by line, and between backticks."""
    parts = re.split(r"^```.*$", text, flags=re.MULTILINE)
    for block in parts[1::2]:
        yield from block.splitlines()
    for prose in parts[::2]:
        yield from (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose))


def _commands(text: str) -> Iterator[str]:
    """Every call of totes, without a prompt, comment or redirection; `totes …` names none."""
    for code in _code(text):
        line = re.sub(r"\s+#.*|\s*[|>].*", "", code.removeprefix("$ "))
        line = re.sub(r"^(\S*/)?totes(?= )", "totes", line)
        if line.startswith("totes ") and "…" not in line:
            yield line


def _is_understood(line: str) -> bool:
    """Whether there is such a command with such options; nothing but its help is run."""
    return CliRunner().invoke(app, [*shlex.split(line)[1:], "--help"]).exit_code == 0
