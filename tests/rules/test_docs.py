"""The documentation: its links, files, commands, settings and tests exist."""

import ast
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
def test_every_link_has_a_target(page: Path) -> None:
    missing = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        there = page.parent / path if path else page
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            missing.append(target)
    assert not missing


@page
def test_every_mentioned_file_exists(page: Path) -> None:
    ours = "src|docs|tests|tools|deploy|data|benchmarks"
    named = re.findall(rf"(?<![\w./])(?:{ours})/[\w./-]*[\w/]", page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("text", [path.read_text() for path in [*PAGES, *DEPLOYED]])
def test_every_mentioned_setting_exists(text: str) -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    assert set(re.findall(rf"\b{PREFIX}[A-Z_]+\b", text)) <= known


@page
def test_every_command_is_valid(page: Path) -> None:
    wrong = [line for line in _commands(page.read_text()) if not _is_valid(line)]
    assert not wrong


@page
def test_every_make_target_exists(page: Path) -> None:
    targets = re.findall(r"^\.PHONY: ([\w-]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    code = "\n".join(_code(page.read_text()))
    assert set(re.findall(r"^make ([a-z-]+)", code, re.MULTILINE)) <= set(targets)


@pytest.mark.parametrize(
    ("line", "valid"),
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
def test_a_command_is_valid_only_if_the_program_has_it(line: str, *, valid: bool) -> None:
    assert _is_valid(line) is valid


def test_every_symbol_in_a_step_of_changing_occurs_in_a_file_of_the_step() -> None:
    text = (ROOT / "docs" / "changing.md").read_text()
    steps = re.findall(r"^ *(?:\d+\.|-) .*\n(?: *(?!\d+\.|- )\S.*\n)*", text, re.MULTILINE)
    missing = []
    checked = 0
    for step in steps:
        code = re.findall(r"`([^`\s]+)`", step)
        source = _source([ROOT / name for name in code if "/" in name])
        symbols = [name for name in code if re.fullmatch(r"[A-Za-z_][\w.]*(\(\))?(?<!\.tf)", name)]
        for symbol in symbols if source else ():
            checked += 1
            words = re.findall(r"\w+", symbol)
            missing += [symbol for word in words if not re.search(rf"\b{word}\b", source)]
    assert not missing
    assert checked > 30


def test_every_quoted_message_of_running_occurs_in_the_source() -> None:
    text = (ROOT / "docs" / "running.md").read_text()
    prose = "".join(re.split(r"^```.*$", text, flags=re.MULTILINE)[::2])
    quoted = re.findall(r'"([^"|]+)"', re.sub(r"`[^`]*`|^\|.*$", "", prose, flags=re.MULTILINE))
    strings = [
        text
        for file in sorted((ROOT / "src").rglob("*.py"))
        for text in _string_literals(ast.parse(file.read_text()))
    ]
    missing = []
    for message in (" ".join(words.split()) for words in quoted):
        pattern = re.escape(message).replace("…", ".*")
        if not any(re.search(pattern, text) for text in strings):
            missing.append(message)
    assert not missing
    assert len(quoted) > 15


def test_architecture_describes_every_folder_and_module_beside_them() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    [section] = re.findall(r"^## Folders of `src/totes`$(.*?)^## ", text, re.MULTILINE | re.DOTALL)
    package = ROOT / "src" / "totes"
    folders = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    assert set(re.findall(r"^\| `(\w+/)` \| \S", section, re.MULTILINE)) == folders
    [modules] = re.findall(r"^Beside the folders .*?\.$", section, re.MULTILINE | re.DOTALL)
    public = {path.stem for path in package.glob("*.py") if not path.stem.startswith("__")}
    assert set(re.findall(r"`(\w+)`", modules)) == public


def test_the_readme_links_every_decision_and_picture() -> None:
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


def test_the_tests_of_every_guarantee_exist() -> None:
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
    """Return the text of a test file in any folder."""
    [found] = (ROOT / "tests").rglob(name)
    return found.read_text()


def _source(paths: list[Path]) -> str:
    """Return the text of files and of all files in folders, without paths that do not exist."""
    files = [file for path in paths for file in [path, *path.rglob("*")] if file.is_file()]
    return "\n".join(file.read_text() for file in files if "__pycache__" not in file.parts)


def _string_literals(tree: ast.Module) -> Iterator[str]:
    """Yield a module's strings, with … for each value of an f-string."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values
            )


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _code(text: str) -> Iterator[str]:
    """Yield the lines of fenced blocks, and the text between backticks."""
    parts = re.split(r"^```.*$", text, flags=re.MULTILINE)
    for block in parts[1::2]:
        yield from block.splitlines()
    for prose in parts[::2]:
        yield from (" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose))


def _commands(text: str) -> Iterator[str]:
    """Yield every call of totes, also as a task, without prompt, comment and redirection."""
    for code in _code(text):
        line = re.sub(r"\s+#.*|\s*[|>].*", "", code.strip().removeprefix("$ "))
        line = re.sub(r"^(\S*/)?totes(?= )", "totes", line)
        line = re.sub(r'^(make task )?COMMAND="?(.*?)"?$', r"totes \2", line)
        if line.startswith("totes ") and "…" not in line:
            yield line


def _is_valid(line: str) -> bool:
    """Return whether the command and its options exist; it runs their help only."""
    return CliRunner().invoke(app, [*shlex.split(line)[1:], "--help"]).exit_code == 0
