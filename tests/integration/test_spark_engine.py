from pyspark.sql import SparkSession


def test_a(spark: SparkSession) -> None:
    assert spark.range(3).count() == 3
