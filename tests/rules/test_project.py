"""The committed files: nothing specific to one machine, and nothing out of date."""

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
    "json-schema.org",  # names a dialect, never requested
    "www.ecb.europa.eu",  # the address of exchange rates, for a setting
    "accounts.google.com",  # the example of a sign-in provider
    "login.microsoftonline.com",  # another one
    "www.w3.org",  # the namespace of SVG, never requested
    "127.0.0.1",
    "localhost",
}
"""The hosts that committed URLs may name; names in .example are reserved for that.

Registries and mirrors depend on the machine.
"""


def test_no_committed_file_names_a_machines_path_or_an_unknown_host() -> None:
    own = re.compile(rf"{re.escape(str(ROOT))}\b|{Path.home()}/|(?<![\w.])/(?:root|Users|work)/\w")
    wrong = []
    for name, text in _committed().items():
        wrong += [f"{name}: {match[0]}" for match in own.finditer(text)]
        hosts = {urlsplit(url).hostname for url in re.findall(r"https?://[\w.:-]+", text)}
        named = sorted(map(str, hosts - HOSTS))
        wrong += [f"{name}: {host}" for host in named if not host.endswith(".example")]
    assert not wrong


@pytest.mark.parametrize("name", [path.name for path in sorted(ROOT.glob("requirements*.txt"))])
def test_requirements_are_pinned_and_hashed_without_addresses(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    entries = [line for line in lines if not line.lstrip().startswith(("#", "--hash=sha256:"))]
    assert all(re.match(r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==\S+ (; .+ )?\\$", line) for line in entries)
    assert not any("/" in line for line in lines)


def test_every_pinned_package_is_audited() -> None:
    pin = re.compile(r"^([a-z0-9-]+)(?:\[.*\])?==(\S+)", re.MULTILINE)
    pins = {path.name: {*pin.findall(path.read_text())} for path in ROOT.glob("requirements*.txt")}
    audit = _run("make", "--dry-run", "audit")
    audited = set().union(*(of_file for name, of_file in pins.items() if name in audit))
    assert not set().union(*pins.values()) - audited


def test_every_path_with_an_owner_exists() -> None:
    lines = (ROOT / ".github" / "CODEOWNERS").read_text().splitlines()
    paths = [line.split()[0] for line in lines if line.startswith("/")]
    assert len(paths) > 3
    assert [path for path in paths if not (ROOT / path[1:]).exists()] == []


def test_the_manifests_schema_is_current() -> None:
    assert (ROOT / "docs" / "manifest.schema.json").read_text() == manifest_schema(), "make schema"


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_the_files_generated_from_the_star_are_current(path: Path) -> None:
    assert path.read_bytes() == GENERATED[path](), "make star"


def test_every_make_target_is_explained_by_make_help() -> None:
    targets = re.findall(r"^\.PHONY: ([\w-]+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    shown = _run("make")
    assert re.findall(r"^  make ([\w-]+) +\w", shown, re.MULTILINE) == targets


def test_the_changelog_has_this_version() -> None:
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_make_setup_announces_its_long_steps() -> None:
    lines = _run("make", "--dry-run", "--always-make", "setup").splitlines()
    [sync] = [number for number, line in enumerate(lines) if "pip sync" in line]
    assert "--quiet" not in lines[sync]
    assert any('echo "setup: installing' in line for line in lines[:sync])


@pytest.mark.parametrize(
    ("file", "extras", "installer"),
    [
        ("requirements-dashboard.txt", ["dashboard"], "docs/running.md"),
        ("requirements-image.txt", ["dashboard", "iceberg"], "deploy/Containerfile"),
    ],
)
def test_the_requirements_of_service_and_container_are_complete(
    file: str, extras: list[str], installer: str
) -> None:
    """They install only these."""
    pinned = (ROOT / file).read_text()
    names = {re.split(r"[=\[]", line)[0] for line in pinned.splitlines() if "==" in line}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = project["dependencies"]
    for extra in extras:
        needed = [*needed, *project["optional-dependencies"][extra]]
    assert {re.split(r"[>\[]", one)[0] for one in needed} <= names
    assert f"-r {file}" in (ROOT / installer).read_text()


def _run(*command: str | Path) -> str:
    """Return the output of a command in the checkout; pytest shows its errors."""
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def _committed() -> dict[str, str]:
    """Return the text of the files in git, including untracked ones, by name."""
    names = _run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    texts = {}
    for name in filter(None, names.split("\0")):
        data = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        if b"\0" not in data:
            texts[name] = data.decode()
    return texts
