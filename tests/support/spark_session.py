"""One Spark for all tests of a worker: starting one takes ten processor seconds.

The commands of totes use a Spark that the process already has. Its settings here are those that
cost little; those that determine rows are set by the program.
"""

import sys
from collections.abc import Mapping

from pyspark.sql import SparkSession
from spark_cluster import LOOPBACK

LOCAL = "local[2]"

LOCAL_CLUSTER = "local-cluster[2,1,1024]"
"""A master, and two workers whose executors are processes of their own."""

SETTINGS: Mapping[str, str] = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.driver.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    "spark.executor.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
    "spark.default.parallelism": "2",
    "spark.sql.shuffle.partitions": "1",
    "spark.log.level": "ERROR",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def start_spark(master: str, settings: Mapping[str, str] | None = None) -> SparkSession:
    """Return this process's Spark at `master`; another one is stopped, its JVM is kept."""
    active = SparkSession.getActiveSession()
    if active is not None:
        if active.sparkContext.master == master:
            return active
        active.stop()
    builder = SparkSession.builder.appName("tests").master(master)
    for name, value in {**SETTINGS, **(settings or {})}.items():
        builder = builder.config(name, value)
    return builder.getOrCreate()


def environment(master: str = LOCAL) -> dict[str, str]:
    """Return the environment of a command that uses Spark at `master`."""
    return {**LOOPBACK, "PYSPARK_PYTHON": sys.executable, "TOTES_SPARK_MASTER": master}
