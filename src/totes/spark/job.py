"""The entry point of a job: `spark-submit job.py transform --engine spark`, as on EMR Serverless.

The arguments and the exit code are those of `totes`; the cluster is that of spark-submit.
"""

from totes.cli import main

if __name__ == "__main__":
    main()
