"""Spark and what fails: a killed driver, killed executors, damaged files, another replay."""

import gzip
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from typing import cast

import pytest
from depth import DEEP, sample, seeded_random
from faults import killed_at, on_nth_call
from generations import Generation, assert_equal
from installation import at
from lake_commands import CommandError, transform
from lake_reader import batches
from small_lake import write_small_lake
from spark_session import LOCAL

import totes
from totes.errors import LakeError
from totes.lake.folder import FolderStore
from totes.lake.manifest import manifest_path, sha256_hex
from totes.stages.runner import Pipeline
from totes.stages.transform import write_generation
from totes.star.folder import TOTESYS


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small ingestion store."""
    return write_small_lake(tmp_path_factory.mktemp("faults") / "ingestion")


@pytest.fixture(scope="module")
def expected(lake: Path) -> Generation:
    """Its generation by DuckDB."""
    return transform(lake, lake.parent / "processed", "duckdb")


class KilledError(BaseException):
    """Simulates the end of the driver; Spark's other processes go on."""


def failpoints() -> list[str]:
    """Return the failpoints of transform, on Spark or not."""
    package = Path(totes.__file__).parent
    modules = [*package.glob("spark/*.py"), *package.glob("stages/transform/*.py")]
    found = {name for path in modules for name in re.findall(r'reach\("(.+?)"\)', path.read_text())}

    return sorted(found)


@pytest.mark.usefixtures("spark")
def test_a_driver_killed_at_any_failpoint_is_continued_to_the_same_rows(
    lake: Path, expected: Generation, tmp_path: Path
) -> None:
    def kill() -> None:
        raise KilledError

    processed = tmp_path / "processed"
    for name in sample(1, failpoints(), "killed driver"):
        for nth in (1,) if not DEEP else (1, 2, 3):
            shutil.rmtree(processed, ignore_errors=True)
            # Some failpoints are reached only once.
            is_killed: AbstractContextManager[object]
            is_killed = pytest.raises(KilledError) if nth == 1 else suppress(KilledError)
            with at(name, on_nth_call(nth, kill)), is_killed:
                transform(lake, processed, "spark")
            continued = seeded_random().choice(("duckdb", "spark"))
            assert_equal(expected, transform(lake, processed, continued))


@pytest.mark.skipif(not DEEP, reason="each driver is a process of its own: make test-deep")
@pytest.mark.parametrize("name", failpoints())
def test_a_driver_whose_process_is_killed_is_continued_to_the_same_rows(
    lake: Path, expected: Generation, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its JVM may go on writing for a while, beside the next driver."""
    monkeypatch.setenv("TOTES_SPARK_MASTER", LOCAL)
    command = partial(_transform, lake, tmp_path / "processed")
    assert killed_at(cast("Pipeline", None), command, name)
    assert_equal(expected, transform(lake, tmp_path / "processed", "spark"))


def _transform(lake: Path, processed: Path, _: Pipeline) -> None:
    transform(lake, processed, "spark")


# --- damage ---------------------------------------------------------------------------------------


def removed(_: bytes) -> None:
    """Return no content: there is no file."""


def flipped(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


def repacked(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    return lambda data: gzip.compress(change(gzip.decompress(data)), 1)


def in_last_line(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    """Return what replaces the last occurrence of bytes: programs look at the first line."""
    return repacked(lambda lines: new.join(lines.rsplit(old, 1)))


DAMAGE: dict[str, Callable[[bytes], bytes | None]] = {
    "it is missing": removed,
    "a bit is different": flipped,
    "the end is missing": lambda data: data[:-9],
    "bytes follow": lambda data: data + b"\0",
    "it is empty": lambda _: b"",
    "it is not packed": gzip.decompress,
    "another file follows": lambda data: data + data,
    "a line is missing": repacked(lambda lines: lines.partition(b"\n")[2]),
    "a line is there twice": repacked(lambda lines: lines + lines.partition(b"\n")[0] + b"\n"),
}

WITH_DIGEST: dict[str, Callable[[bytes], bytes | None]] = {
    "a line is missing": DAMAGE["a line is missing"],
    "a line is there twice": DAMAGE["a line is there twice"],
    "a line is no JSON": repacked(lambda lines: lines.replace(b'"_op"', b'"_op', 1)),
    "a line is cut": repacked(lambda lines: lines.replace(b"}\n", b"\n", 1)),
    "a line is an array": repacked(lambda lines: b"[1]\n" + lines.partition(b"\n")[2]),
    "a line ends twice": repacked(lambda lines: lines.replace(b"\n", b"\n\n", 1)),
    "the last line does not end": repacked(lambda lines: lines[:-1]),
    "an operation is unknown": repacked(lambda lines: lines.replace(b'"upsert"', b'"insert"', 1)),
    "a column is missing": repacked(lambda lines: lines.replace(b'"file_name"', b'"file"')),
    "it is not packed": gzip.decompress,
    "the last line is cut": repacked(lambda lines: lines[:-2] + b"\n"),
    "text follows the last object": repacked(lambda lines: lines[:-1] + b"x\n"),
    "two objects in a line": repacked(lambda lines: lines[:-1] + b"{}\n"),
    "it is no text": in_last_line(b'"Wooden"', b'"\xff\xfe"'),
    "a name occurs twice": in_last_line(b'"file_name":', b'"file_name":"7","file_name":'),
    "a value is an array": in_last_line(b'"Wooden"', b'["Wooden"]'),
    "a value is an object": in_last_line(b'"Wooden"', b'{"a":"Wooden"}'),
    "a value is a number": in_last_line(b'"Wooden"', b"2.430"),
    "a number is long": in_last_line(b'"Wooden"', b"2.4300000000000000000001"),
    "a number is a power": in_last_line(b'"Wooden"', b"243e-2"),
    "a number is no JSON": in_last_line(b'"Wooden"', b"NaN"),
    "a number begins with zero": in_last_line(b'"Wooden"', b"02.43"),
    "a text has single quotes": in_last_line(b'"Wooden"', b"'Wooden'"),
    "a name has no quotes": in_last_line(b'"design_name"', b"design_name"),
    "there are blanks": in_last_line(b'"Wooden"', b' "Wooden"\t'),
    "there is a comment": in_last_line(b'"Wooden"', b'/* */"Wooden"'),
    "a control character": in_last_line(b'"Wooden"', b'"Wooden\x01"'),
    "half of a surrogate pair": in_last_line(b"Wooden", b"\\ud800"),
    "NUL": in_last_line(b"Wooden", b"Wooden\\u0000"),
    "an unknown escape": in_last_line(b"Wooden", b"Wooden\\q"),
    "the end of a line within": in_last_line(b"Wooden", b"Wooden\r"),
    "a byte order mark": repacked(lambda lines: b"\xef\xbb\xbf" + lines),
}
"""Damage that the file's digest does not show: it was made before the manifest."""


def damage(lake: Path, change: Callable[[bytes], bytes | None], *, as_in_manifest: bool) -> str:
    """Change a file of designs in batch 1; with `as_in_manifest` its manifest agrees."""
    [first, *_] = batches(FolderStore(lake))
    table = first.table("design")
    assert table is not None
    file = table.files[0]
    path = lake / file.path
    content = change(path.read_bytes())
    path.unlink()
    if content is None:
        return file.path
    path.write_bytes(content)
    if as_in_manifest:
        unpacked = len(gzip.decompress(content)) if content[:2] == b"\x1f\x8b" else None
        new = file.model_copy(
            update={
                "bytes": len(content),
                "sha256": sha256_hex(content),
                "unpacked_bytes": unpacked,
            }
        )
        tables = tuple(
            one.model_copy(update={"files": (new, *one.files[1:])}) if one is table else one
            for one in first.tables
        )
        manifest = lake / manifest_path(1)
        manifest.unlink()
        manifest.write_bytes(first.model_copy(update={"tables": tables}).to_json())
        for later in (2, 3):
            (lake / manifest_path(later)).unlink()
    return file.path


@pytest.mark.usefixtures("spark")
@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("kind", "as_in_manifest"),
    [*((kind, False) for kind in DAMAGE), *((kind, True) for kind in WITH_DIGEST)],
)
def test_spark_refuses_the_damaged_files_that_duckdb_refuses(
    lake: Path, tmp_path: Path, kind: str, *, as_in_manifest: bool
) -> None:
    """Either names the file and publishes nothing. What both accept has the same rows."""
    copy = shutil.copytree(lake, tmp_path / "ingestion")
    change = (WITH_DIGEST if as_in_manifest else DAMAGE)[kind]
    path = damage(copy, change, as_in_manifest=as_in_manifest)
    expected, found = (
        transform_or_error(copy, tmp_path / engine, engine) for engine in ("duckdb", "spark")
    )
    if isinstance(found, Generation):
        assert isinstance(expected, Generation), f"DuckDB: {expected}"
        assert_equal(expected, found)
    else:
        assert found.exit_code == LakeError.exit_code
        [message] = found.messages
        assert path in message
        assert not [*(tmp_path / "spark").rglob("batches/*.json")]


def transform_or_error(lake: Path, processed: Path, engine: str) -> Generation | CommandError:
    try:
        return transform(lake, processed, engine)
    except CommandError as error:
        return error


@pytest.mark.usefixtures("spark")
def test_another_process_that_publishes_a_batch_first_is_followed(
    lake: Path, expected: Generation, tmp_path: Path
) -> None:
    processed = tmp_path / "processed"

    def publish_two() -> None:
        for _ in write_generation(
            FolderStore(lake), FolderStore(processed), 1, TOTESYS.models, last_batch=2
        ):
            pass

    with at("transform.before-manifest", on_nth_call(1, publish_two)):
        found = transform(lake, processed, "spark")
    assert_equal(expected, found)
