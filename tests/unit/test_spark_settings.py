"""The engine spark before Spark starts: what is missing, what goes to it, what it is called."""

import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from transform_lake import ALL, Lake
from typer.testing import CliRunner

from totes.cli import app
from totes.errors import UsageError
from totes.spark import build, cluster, session
from totes.spark.cluster import SparkCluster
from totes.spark.files import Location
from totes.stages.transform import write_generation
from totes.star.folder import TOTESYS
from totes.star.lineage import returns_each_row

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

ENVIRONMENT = {"TOTES_INGESTION_URL": "in", "TOTES_PROCESSED_URL": "out"}


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def refusal(*arguments: str) -> str:
    result = CliRunner().invoke(app, [*arguments, "--engine", "spark"], env=ENVIRONMENT)
    assert result.exit_code == UsageError.exit_code, result.output
    [line] = result.stderr.splitlines()
    return line


@pytest.mark.parametrize("command", ["transform", "replay"])
def test_without_pyspark_or_java_a_command_fails_with_one_line(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JAVA_HOME", "/nowhere")
    assert "needs Java 17" in refusal(command)
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "needs Java 17" in refusal(command)
    monkeypatch.setitem(sys.modules, "pyspark", None)  # as if it was not installed
    monkeypatch.setattr(session, "find_spec", lambda _: None)
    assert "needs pyspark: install terrific-totes[spark]" in refusal(command)


def test_replay_into_another_warehouse_is_refused_with_spark() -> None:
    assert "leave out --into or --engine" in refusal("replay", "--into", "postgresql:///other")


class Configuration(dict[str, str]):
    """A configuration in which one setting keeps its value."""

    def __init__(self, fixed: dict[str, str]) -> None:
        self._fixed = fixed

    def set(self, name: str, value: str) -> None:
        self[name] = self._fixed.get(name, value)


@pytest.mark.parametrize("name", session.PINNED)
def test_a_setting_that_can_not_be_pinned_stops_the_start(name: str) -> None:
    stub = SimpleNamespace(conf=Configuration({name: "x"}), version="4.1.1-amzn-0")
    with pytest.raises(UsageError, match=f"{name} is x"):
        session.pin(cast("SparkSession", stub))


def test_another_version_of_spark_stops_the_start() -> None:
    stub = SimpleNamespace(conf=Configuration({}), version="4.2.0")
    with pytest.raises(UsageError, match=r"its version is 4\.2\.0"):
        session.pin(cast("SparkSession", stub))


def test_spark_does_not_start_if_no_batch_is_large(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "open_session", lambda _: pytest.fail("Spark starts"))
    lake.writer.add(ALL)
    size_bytes = sum(f.bytes for table in lake.writer.batches[0].tables for f in table.files)
    spark = SparkCluster("local", size_bytes + 1)
    store, models = lake.writer.store, TOTESYS.models
    assert len(list(write_generation(store, lake.processed, 1, models, cluster=spark))) == 1
    with pytest.raises(pytest.fail.Exception, match="Spark starts"):
        list(
            write_generation(
                store, lake.processed, 2, models, cluster=SparkCluster("local", size_bytes)
            )
        )


@pytest.mark.parametrize(
    ("url", "key", "file_path"),
    [
        (
            "/a b/%20[x]{y}*?",
            "t%2Fu/v=1/n.gz",
            "file:/a%20b/%2520%5Bx%5D%7By%7D*%3F/t%252Fu/v=1/n.gz",
        ),
        ("s3://bucket/pre fix", "t/n.gz", "s3a://bucket/pre%20fix/t/n.gz"),
    ],
)
def test_a_file_that_spark_names_is_the_object_of_the_store(
    url: str, key: str, file_path: str
) -> None:
    location = Location(url)
    assert location.key(file_path) == key
    assert location.path(key).endswith(f"{url}/{key}")
    assert location.pattern("[{*?\\") == f"{location.pattern('')}\\[\\{{\\*\\?\\\\"


@pytest.mark.parametrize(
    ("sql", "is_certain"),
    [
        ("select a, upper(b) as b from t where _changed", True),
        ("with c as (select a from t where _changed) select a from c", True),
        ("select a from t", False),
        ("select a from t where _changed and a > 1", False),
        ("select distinct a from t where _changed", False),
        ("select a, count(*) from t where _changed group by a", False),
        ("select max(a) as a from t where _changed", False),
        ("select a from t where _changed union all select a from t where _changed", False),
        ("select t.a from t left join u on t.a = u.a where t._changed", False),
        ("select a from t where _changed qualify row_number() over (order by a) = 1", False),
        ("select unnest([a, a]) as a from t where _changed", False),
        ("select a from t where _changed limit 1", False),
    ],
)
def test_rows_are_counted_only_where_a_model_returns_each_row(
    sql: str, *, is_certain: bool
) -> None:
    assert returns_each_row(sql) is is_certain


def test_a_model_of_a_joined_table_goes_to_spark_only_if_it_filters_the_changed_rows() -> None:
    models = {model.name: model for model in TOTESYS.models.all}
    of_spark = {
        name for name, model in models.items() if cluster._reads_one_table(model, TOTESYS.models)
    }
    assert models.keys() - of_spark == {"dim_staff", "dim_counterparty", "dim_date"}
    location = models["dim_location"]
    without_filter = location.sql.replace("where _changed", "")
    changed = type(location)(location.star, without_filter, location.lineage)
    assert not cluster._reads_one_table(changed, TOTESYS.models)


@pytest.mark.parametrize(
    ("master", "memory"), [("local", "1216m"), ("local[4]", "1792m"), ("local[4,2]", "1792m")]
)
def test_java_gets_memory_for_the_files_of_all_tasks(
    master: str, memory: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    monkeypatch.setenv("SPARK_DRIVER_MEMORY", "7g")
    session._start_settings(master)
    assert os.environ["SPARK_DRIVER_MEMORY"] == "7g"
    monkeypatch.delenv("SPARK_DRIVER_MEMORY")
    session._start_settings(master)
    assert os.environ["SPARK_DRIVER_MEMORY"] == memory
    assert 3 * build.FILE_BYTES >> 20 <= session._TASK_MB
