"""The SQL of loads: the files in `statements`, and those that Iceberg tables share."""

from functools import partial

from totes.star import statement as star_statement

statement = partial(star_statement.statement, __package__)
read_statement = partial(star_statement.read_statement, __package__)
