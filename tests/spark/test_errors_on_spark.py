"""An error of Spark is one line without values, of the class of what has to be repaired."""

from types import SimpleNamespace

import pytest
from py4j.protocol import Py4JError  # type: ignore[import-untyped]
from pyspark.sql import SparkSession

from totes.errors import LakeError, ModelError, SparkError, TotesError
from totes.spark.errors import convert_errors

VALUE = "a value of the source"


def converted(sql: str, spark: SparkSession) -> TotesError:
    with pytest.raises(TotesError) as caught, convert_errors("compute model dim_design"):
        spark.sql(sql).collect()
    [line] = str(caught.value).splitlines()
    assert VALUE not in line
    return caught.value


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("cast(text as integer)", "CAST_INVALID_INPUT in cast(text as integer)"),
        ("cast(text as date)", "CAST_INVALID_INPUT in cast(text as date)"),
        ("1 / (length(text) - length(text))", "DIVIDE_BY_ZERO in 1 / (length(text)"),
        ("(select id from range(2))", "SCALAR_SUBQUERY_TOO_MANY_ROWS"),
        ("raise_error('cast(x as date) would not be exact')", "cast(x as date) would not be exact"),
        ("nothing", "column, variable, or function parameter with name `nothing`"),
        (")", "Syntax error at or near"),
    ],
)
def test_what_a_model_or_its_values_cause_is_a_model_error(
    spark: SparkSession, column: str, reason: str
) -> None:
    texts = f"select concat('{VALUE}', id) as text from range(1)"
    error = converted(f"select {column} as x from ({texts})", spark)
    assert isinstance(error, ModelError)
    assert str(error).startswith("Spark can't compute model dim_design: ")
    assert reason in str(error)


def test_a_file_that_does_not_exist_is_an_error_of_the_lake(spark: SparkSession) -> None:
    error = converted("select * from parquet.`/nowhere/rows.parquet`", spark)
    assert isinstance(error, LakeError)
    assert "/nowhere/rows.parquet" in str(error)


def test_a_folder_that_spark_can_not_write_is_an_error_of_spark(spark: SparkSession) -> None:
    with pytest.raises(SparkError, match="Mkdirs failed"), convert_errors("compute model fact_x"):
        spark.range(1).write.parquet("/proc/rows")


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        ("No space left on device", "a disk is full"),
        ("Java heap space", "increase TOTES_MEMORY"),
        ("ExecutorLostFailure (executor 2 exited, exit code 137)", "increase TOTES_MEMORY"),
        ("ExecutorLostFailure (executor 2 exited caused by a running task)", "it lost executors"),
        ("Connection refused: a store at localhost", "Connection refused: a store"),
        ("something else", "something else. See Spark's log"),
    ],
)
def test_a_failure_of_the_cluster_is_an_error_of_spark_with_advice(
    message: str, advice: str
) -> None:
    """Failures that tests can't cause: what Java reports is simulated."""

    def no_condition() -> None:
        raise Py4JError("Method getCondition([]) does not exist")

    inner = SimpleNamespace(
        getMessage=lambda: f"{message}\n\tat a line of Java",
        getCondition=no_condition,
        getCause=lambda: None,
    )
    failed = Py4JError("An error occurred while calling o1.parquet.")
    failed.java_exception = SimpleNamespace(
        getMessage=lambda: f"Job aborted due to stage failure: {message}",
        getCondition=lambda: None,
        getSqlState=lambda: None,
        getQueryContext=list,
        getCause=lambda: inner,
    )
    with pytest.raises(SparkError) as caught, convert_errors("compute model dim_date"):
        raise failed
    [line] = str(caught.value).splitlines()
    assert line.startswith("Spark can't compute model dim_date: ")
    assert advice in line


def test_a_java_that_has_ended_is_an_error_of_spark() -> None:
    with (
        pytest.raises(SparkError, match="its Java process has ended"),
        convert_errors("read the lines"),
    ):
        raise ConnectionRefusedError(111, "Connection refused")
