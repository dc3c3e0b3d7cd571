"""Apache Spark: computes the rows of large batches on a cluster. The only importer of pyspark."""
