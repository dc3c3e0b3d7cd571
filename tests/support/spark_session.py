"""A local Spark for tests: one JVM for all tests of a worker, as small and as quick as it gets.

The commands of totes use the Spark that the process has.
"""

import os
from collections.abc import Mapping

from depth import DEEP
from pyspark.sql import SparkSession
from spark_cluster import LOOPBACK

LOCAL = "local[2]"

LOCAL_CLUSTER = "local-cluster[2,1,1024]"
"""A master, and two workers whose executors are processes of their own."""

JAVA = (
    "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmn500m"
    " -XX:ReservedCodeCacheSize=240m"  # with less, code is compiled again and again
    " -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
)
"""Options of Java for short tests: what starts quickly counts more than what runs quickly."""

SETTINGS: Mapping[str, str] = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "1g",
    "spark.driver.extraJavaOptions": JAVA,
    "spark.executor.extraJavaOptions": JAVA,
    "spark.default.parallelism": "2",
    "spark.python.sql.dataFrameDebugging.enabled": "false",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.caseSensitive": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
}


FOR_SMALL_TABLES: Mapping[str, str] = {
    # Generated code takes longer to compile than small tables take to compute.
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
    # Plans that change while they run are planned several times.
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.files.minPartitionNum": "1",
    # Descriptions of plans, for a web page that nobody looks at.
    "spark.sql.ui.explainMode": "simple",
    "spark.sql.debug.maxToStringFields": "0",
}
"""On these no row depends. The tests in `make test-deep` run with Spark's own values."""


def start_spark(master: str = LOCAL, settings: Mapping[str, str] | None = None) -> SparkSession:
    """Return this process's Spark at `master`; another one is stopped, its JVM is kept."""
    active = SparkSession.getActiveSession()
    if active is not None:
        if active.sparkContext.master == master:
            return active
        active.stop()
    os.environ.update(LOOPBACK)
    builder = SparkSession.builder.appName("totes tests").master(master)
    for name, value in {
        **SETTINGS,
        **({} if DEEP else FOR_SMALL_TABLES),
        **(settings or {}),
    }.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
    return session


def stop_spark() -> None:
    """Stop this process's Spark, if it has one."""
    if (active := SparkSession.getActiveSession()) is not None:
        active.stop()
