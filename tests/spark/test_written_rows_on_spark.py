"""What executors have written is published only if listing, content and source agree."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from faults import on_nth_call
from generations import assert_equal
from installation import at
from lake_commands import transform
from lake_writer import LakeWriter, row
from pyspark.errors import ArithmeticException
from pyspark.sql import SparkSession

from totes.errors import LakeError, UsageError
from totes.lake.folder import FolderStore
from totes.operations.gc import find_orphaned_files
from totes.spark import build
from totes.spark.cluster import SparkCluster
from totes.spark.session import PINNED, check_readable, open_session
from totes.stages.transform import write_generation
from totes.star.folder import TOTESYS

pytestmark = pytest.mark.usefixtures("spark")


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Two batches of one table, with a deletion and a rejected row."""
    writer = LakeWriter(tmp_path / "ingestion")
    types = [row("payment_type", payment_type_id=n) for n in range(1, 6)]
    writer.add({"payment_type": types}, deletes={"payment_type": [9]})
    writer.add({"payment_type": [row("payment_type", payment_type_id=7, payment_type_name=None)]})
    return tmp_path / "ingestion"


def test_every_pinned_setting_is_one_of_spark(spark: SparkSession) -> None:
    """Spark accepts any name."""
    assert [name for name in PINNED if not spark.conf.isModifiable(name)] == []


def test_a_store_that_spark_can_not_read_is_one_clear_line(spark: SparkSession) -> None:
    check_readable(spark, "file:/tmp")
    with pytest.raises(UsageError, match=r"can't read s3://b/in: .* Use the engine duckdb") as e:
        check_readable(spark, "s3://b/in")
    assert "\n" not in str(e.value)


def test_an_error_of_spark_is_not_logged_and_a_literal_is_no_variable(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with open_session("local") as session:
        assert session.sql("select '${env:PATH}' as text").first() == ("${env:PATH}",)
        with pytest.raises(ArithmeticException):
            session.sql("select 1 / 0").collect()
    assert not caplog.records


def lose_a_file(folder: Path) -> None:
    next(folder.rglob("totes_batch=1/*.parquet")).unlink()


def copy_a_file(folder: Path) -> None:
    file = next(folder.rglob("totes_batch=1/*.parquet"))
    shutil.copy(file, file.with_stem("copy"))


def hide_a_file(folder: Path) -> None:
    file = next(folder.rglob("totes_batch=1/*.parquet"))
    file.rename(file.with_stem("_hidden"))


def add_a_batch(folder: Path) -> None:
    file = next(folder.rglob("totes_batch=1/*.parquet"))
    shutil.copytree(file.parent, file.parent.with_name("totes_batch=5"))


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        (lose_a_file, r"Spark made \d+ rows of dim_payment_type from the 6 rows"),
        (copy_a_file, r"Spark made \d+ rows of dim_payment_type from the 6 rows of batch 1"),
        (hide_a_file, "do not find the same files below generation=1/dim_payment_type/"),
        (add_a_batch, "is of no pending batch"),
    ],
)
def test_files_that_do_not_agree_are_not_published(
    lake: Path, tmp_path: Path, tamper: Callable[[Path], None], message: str
) -> None:
    processed = tmp_path / "processed"
    tampered = on_nth_call(1, lambda: tamper(processed))
    with at("spark.rows-written", tampered), pytest.raises(LakeError, match=message) as caught:
        list(
            write_generation(
                FolderStore(lake),
                FolderStore(processed),
                1,
                TOTESYS.models,
                cluster=SparkCluster("local"),
            )
        )
    assert "\n" not in str(caught.value)
    assert not [*processed.rglob("batches/*.json")]


class KilledError(BaseException):
    """Simulates the end of the driver."""


def test_gc_finds_what_a_killed_attempt_has_written(lake: Path, tmp_path: Path) -> None:
    def kill() -> None:
        raise KilledError

    processed = tmp_path / "processed"
    with at("spark.rows-written", on_nth_call(2, kill)), pytest.raises(KilledError):
        transform(lake, processed, "spark")
    written = {str(path.relative_to(processed)) for path in processed.rglob("*.parquet")}
    assert {path.split("/")[1] for path in written} == {"dim_payment_type", "quarantine"}
    assert [*find_orphaned_files(FolderStore(processed))] == []  # the attempt could still run
    transform(lake, processed, "duckdb")
    assert {file.key for file in find_orphaned_files(FolderStore(processed))} == written


def test_the_lines_of_a_key_are_in_order_in_however_many_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LakeWriter(tmp_path / "ingestion")
    moment = writer.captured_at(1)
    lines = [writer.upsert("payment_type", moment, n, payment_type_id=n % 50) for n in range(100)]
    writer.add(log={"payment_type": [*lines, writer.delete("payment_type", moment, 100, 7)]})
    expected = transform(tmp_path / "ingestion", tmp_path / "duckdb", "duckdb")
    monkeypatch.setattr(build, "FILE_BYTES", 300)
    monkeypatch.setattr(build, "MAX_FILES", 3)
    assert_equal(expected, transform(tmp_path / "ingestion", tmp_path / "spark", "spark"))
