"""What is committed: nothing of one machine, nothing stale, and a wheel that runs anywhere."""

import re
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from star import GENERATED
from totes import __version__
from totes.lake.manifest import manifest_schema

ROOT = Path(__file__).parents[2]

HOSTS = {
    "duckdb.org",  # a link in the notebook
    "json-schema.org",  # names a dialect, is never asked
    "www.ecb.europa.eu",  # where exchange rates can be had, for whoever sets it
    "www.w3.org",  # names what an SVG is, is never asked
    "127.0.0.1",
    "localhost",
}
"""Whom a committed URL may name; a registry or a mirror is each machine's own business."""


def test_no_committed_file_names_a_machines_path_or_an_unknown_host() -> None:
    own = re.compile(rf"{re.escape(str(ROOT))}\b|{Path.home()}/|(?<![\w.])/(?:root|Users|work)/\w")
    wrong = []
    for name, text in _committed().items():
        wrong += [f"{name}: {match[0]}" for match in own.finditer(text)]
        hosts = {urlsplit(url).hostname for url in re.findall(r"https?://[\w.:-]+", text)}
        wrong += [f"{name}: {host}" for host in sorted(map(str, hosts - HOSTS))]
    assert not wrong


@pytest.mark.parametrize("name", [path.name for path in sorted(ROOT.glob("requirements*.txt"))])
def test_requirements_are_pinned_and_hashed_and_name_no_address(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    entries = [line for line in lines if not line.lstrip().startswith(("#", "--hash=sha256:"))]
    assert all(re.match(r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==\S+ (; .+ )?\\$", line) for line in entries)
    assert not any("/" in line for line in lines)


def test_the_manifests_schema_is_current() -> None:
    assert (ROOT / "docs" / "manifest.schema.json").read_text() == manifest_schema(), "make schema"


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_what_is_generated_from_the_star_is_current(path: Path) -> None:
    assert path.read_bytes() == GENERATED[path](), "make star"


def test_every_make_target_is_explained_by_make_help() -> None:
    targets = re.findall(r"^\.PHONY: ([\w-]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = _run("make")
    assert re.findall(r"^  make ([\w-]+) +\w", shown, re.MULTILINE) == targets


def test_the_changelog_knows_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_make_setup_says_what_it_does_before_it_takes_long() -> None:
    lines = _run("make", "--dry-run", "--always-make", "setup").splitlines()
    [sync] = [number for number, line in enumerate(lines) if "pip sync" in line]
    assert "--quiet" not in lines[sync]
    assert any('echo "setup: installing' in line for line in lines[:sync])


def test_what_the_documents_install_for_the_dashboard_is_all_it_needs() -> None:
    """The container and the service install these alone."""
    pinned = (ROOT / "requirements-dashboard.txt").read_text()
    names = {re.split(r"[=\[]", line)[0] for line in pinned.splitlines() if "==" in line}
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = [*extras["dependencies"], *extras["optional-dependencies"]["dashboard"]]
    assert {re.split(r"[>\[]", one)[0] for one in needed} <= names
    for name in ("deploy/Containerfile", "docs/running.md"):
        assert "-r requirements-dashboard.txt" in (ROOT / name).read_text()


def _run(*command: str | Path) -> str:
    """What a command run in the checkout prints; pytest shows its complaints when it fails."""
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def _committed() -> dict[str, str]:
    """The text files in git, by name; those about to be added too."""
    names = _run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    texts = {}
    for name in filter(None, names.split("\0")):
        data = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" not in data:
            texts[name] = data.decode()
    return texts
