"""Build dist/totes-lambda.zip, the code of the Lambda functions; one tree gives the same bytes.

It has the packages of requirements.txt for Lambda's platform (x86_64, Python 3.12), without those
that a function can't use. It contains compiled modules: Lambda's folder is read-only, so every cold
start would compile them again.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Container, Iterable, Iterator
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
"""The platform of the wheels: Lambda's Amazon Linux 2023 has glibc 2.34."""

LIMIT_BYTES = 250 << 20
"""Lambda's limit for the unpacked size."""

LAMBDA_FOLDER = "/var/task"
"""The folder in which Lambda unpacks it, which tracebacks show."""

EXTRA_FILES = (Path("data", "rds-ca.pem"),)
"""Files with the same relative path in the zip as here."""

UNUSED = {"rich", "typer"}
"""Packages for terminals, which are left out together with the packages that only they need."""

_FOLDERS = {"tests", "examples", "include", "bin"}
_SUFFIXES = {".pyi", ".pyx", ".pxd", ".c", ".h", ".a"}
_OF_METADATA = {"METADATA", "entry_points.txt", "licenses"}
_FIXED = (1980, 1, 1, 0, 0, 0)
_UNIX, _MODE = 3, 0o100644
_LEVEL = 6

HANDLERS = "totes.aws.handlers"

_COLD_START = f"""
import sys, time
sys.path.insert(0, sys.argv[1])
began = time.perf_counter()
import {HANDLERS}
print(time.perf_counter() - began)
"""


def ready() -> Path:
    """Return the bundle of this tree; build it unless it is current."""
    key = _inputs()
    BUNDLE.parent.mkdir(exist_ok=True)
    with BUNDLE.with_suffix(".lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # tests use it in parallel
        if not (BUNDLE.is_file() and _comment(BUNDLE) == key):
            with TemporaryDirectory() as folder:
                site = Path(folder) / "site"
                install_all(site)
                pack(site, BUNDLE, key)
    return BUNDLE


def install_all(site: Path) -> None:
    """Install the functions' code and packages into a folder."""
    if sys.version_info[:2] != PYTHON:
        sys.exit("bundle: run this with Python 3.12, as on Lambda: it compiles modules.")
    install_packages(site, PLATFORM, extras=("aws",), unused=UNUSED)
    for file in EXTRA_FILES:
        (site / file).parent.mkdir(exist_ok=True)
        shutil.copyfile(ROOT / file, site / file)
    _compile(site)


def pack(site: Path, target: Path, comment: bytes = b"") -> None:
    """Write the zip; SystemExit if it exceeds Lambda's limit."""
    files = sorted(path for path in site.rglob("*") if path.is_file())
    size_bytes = sum(path.stat().st_size for path in files)
    if size_bytes > LIMIT_BYTES:
        sys.exit(
            f"bundle: {size_bytes >> 20} MB unpacked, Lambda's limit is {LIMIT_BYTES >> 20} MB."
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    incoming = target.with_suffix(".incoming")
    with zipfile.ZipFile(incoming, "w") as archive:
        archive.comment = comment
        for path in files:
            entry = zipfile.ZipInfo(path.relative_to(site).as_posix(), _FIXED)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = _UNIX
            entry.external_attr = _MODE << 16
            archive.writestr(entry, path.read_bytes(), compresslevel=_LEVEL)
    incoming.replace(target)


def _inputs() -> bytes:
    """Return a digest of all inputs of the bundle."""
    source = [path for path in (ROOT / "src").rglob("*") if path.suffix != ".pyc"]
    files = [path for path in source if path.is_file()]
    files += [
        ROOT / name for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE")
    ]
    files += [ROOT / "data" / "totesys.sql", *(ROOT / file for file in EXTRA_FILES), Path(__file__)]
    found = hashlib.sha256(sys.version.encode())
    for path in sorted(files):
        found.update(f"{path.relative_to(ROOT)} {path.stat().st_size}\n".encode())
        found.update(path.read_bytes())
    return found.hexdigest().encode()


def _comment(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.comment


def cold_start_seconds(site: Path) -> float:
    """Return the seconds in which a new process imports the handlers of an unpacked bundle."""
    command = [sys.executable, "-I", "-S", "-c", _COLD_START, str(site)]
    environment = {"AWS_REGION": "us-east-1"}
    done = subprocess.run(
        command, cwd=site.parent, env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    return float(done.stdout)


def install_packages(
    site: Path, platform: str, *, extras: Iterable[str] = (), unused: Container[str] = ()
) -> None:
    """Install the project and the packages that it needs into a folder, for another machine.

    `extras` are those of the project; `unused` are left out with all that only they need. So are
    files that no program uses, and those that differ between installations.
    """
    _install(site, platform)
    _prune(site, _needed(_installed(site), extras, unused))


def _install(site: Path, platform: str) -> None:
    install: list[str | Path] = [UV, "pip", "install", "--quiet", "--target", site]
    machine = ["--python-platform", platform, "--python-version", ".".join(map(str, PYTHON))]
    wheels = ["--only-binary", ":all:", "--require-hashes"]
    subprocess.run(
        [*install, *machine, *wheels, "--requirements", ROOT / "requirements.txt"], check=True
    )
    with TemporaryDirectory() as made:
        build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", made]
        subprocess.run([*build, ROOT], check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        [wheel] = Path(made).glob("*.whl")
        subprocess.run([*install, "--no-deps", wheel], check=True)


def _installed(site: Path) -> dict[str, Distribution]:
    return {_name(one): one for one in distributions(path=[str(site)])}


def _prune(site: Path, needed: Iterable[str]) -> None:
    installed = _installed(site)
    for name in installed.keys() - set(needed):
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


def _needed(
    installed: dict[str, Distribution], extras: Iterable[str], unused: Container[str]
) -> Iterator[str]:
    """Yield the project and its dependencies, without those that only unused packages need."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = [*project["dependencies"]]
    for extra in extras:
        requirements += project["optional-dependencies"][extra]
    pending = [Requirement(one) for one in requirements]
    pending = [one for one in pending if canonicalize_name(one.name) not in unused]
    seen: set[tuple[str, str]] = set()
    yield canonicalize_name(project["name"])
    while pending:
        requirement = pending.pop()
        name = canonicalize_name(requirement.name)
        yield name
        for extra in ("", *requirement.extras):
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
    # Unchecked hashes do not depend on time stamps, and Python does not compare them at import.
    command = [sys.executable, "-m", "compileall", "-q", "-f", "-s", str(site), "-p", LAMBDA_FOLDER]
    mode = ["--invalidation-mode", "unchecked-hash"]
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    subprocess.run([*command, *mode, str(site)], check=True, env=environment)


def main() -> None:
    bundle = ready()
    with TemporaryDirectory() as folder:
        site = Path(folder) / "task"
        with zipfile.ZipFile(bundle) as archive:
            archive.extractall(site)
            size_bytes = sum(entry.file_size for entry in archive.infolist())
        first, *others = (cold_start_seconds(site) for _ in range(5))
    print(f"{bundle.relative_to(ROOT)}: {bundle.stat().st_size / 1e6:.1f} MB")
    print(f"unpacked: {size_bytes / 1e6:.1f} MB of {LIMIT_BYTES / 1e6:.1f} MB")
    print(f"import of the handlers: {first:.2f} s the first time, {min(others):.2f} s later")


if __name__ == "__main__":
    main()
