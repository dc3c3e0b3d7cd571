"""The entry point of a job: `spark-submit job.py transform --engine spark`, as on EMR Serverless.

It is `python -m totes` on the cluster of spark-submit, with its arguments and exit code.
"""

from runpy import run_module

if __name__ == "__main__":
    run_module("totes", run_name="__main__")
