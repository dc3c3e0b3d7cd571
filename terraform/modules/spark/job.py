"""What EMR runs: a command of totes, with the packages that it has unpacked."""

import runpy

runpy.run_module("totes.spark.job", run_name="__main__", alter_sys=True)
