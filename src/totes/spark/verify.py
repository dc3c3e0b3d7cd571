"""Whether the lines of ingestion files are those that their manifests describe."""

from collections.abc import Iterable, Sequence

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as f

from totes.lake.line import AT, DELETE, SEQUENCE, UPSERT
from totes.lake.manifest import MAX_LINE_BYTES, File
from totes.spark.files import PATH, Location, verify_files
from totes.spark.lines import LinesFile, TableBatch, small_table
from totes.star.contract import MAX_TEXT_BYTES
from totes.star.relation import ContentMismatch, check_counts, convert_mismatch

_ESCAPE = (
    r'\\(?:["\\/bfnrt]|u(?!0000|[dD][89a-fA-F])[0-9a-fA-F]{4}'
    r"|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_STRING = rf'"(?:[^"\\\x00-\x1f]++|{_ESCAPE})*+"'
_VALUE = rf"(?:{_STRING}|-?+(?:0|[1-9][0-9]*+)|true|false|null)"
_MEMBERS = rf"\{{{_STRING}:%s(?:,{_STRING}:%s)*+\}}"
_LINE = r"\A" + _MEMBERS.replace("%s", f"(?:{_VALUE}|{_MEMBERS.replace('%s', _VALUE)})") + r"\z"
"""A line as its writers print it, for Java. JSON permits more, which engines read differently.

Repetitions are possessive: others recurse once for each character of a long text.
"""


def verify_lines(
    session: SparkSession, location: Location, batches: Iterable[TableBatch]
) -> dict[str, LinesFile]:
    """Check the content of ingestion files against their manifests; return what was found, by key.

    Raises LakeError for the first file that differs.
    """
    tables = {file.path: table for table in batches for file in table.files}
    files = {file.path: file for table in tables.values() for file in table.files}
    paths = verify_files(session, location, files)
    if not files:
        return {}
    columns = [
        (paths[key], _with_log(table, table.columns), _with_log(table, table.key))
        for key, table in tables.items()
    ]
    schema = f"{PATH} string, of_upsert array<string>, of_delete array<string>"
    lines = _read_text(session, location, files).join(small_table(session, columns, schema), PATH)
    found = {location.key(row[PATH]): row for row in _count(lines).collect()}
    for key, file in files.items():
        with convert_mismatch(file.path, location.url):
            _check_counted(file, found.get(key))
    return {
        key: LinesFile(path, is_long=found[key].longest_bytes > MAX_TEXT_BYTES)
        for key, path in paths.items()
    }


def _with_log(table: TableBatch, columns: Sequence[str]) -> list[str]:
    return [*columns, *((AT, SEQUENCE) if table.of_log else ())]


def _read_text(session: SparkSession, location: Location, keys: Iterable[str]) -> DataFrame:
    reader = session.read.option("recursiveFileLookup", value=True).option("lineSep", "\n")
    text = reader.text([location.pattern(key) for key in keys])
    return text.select("value", f.col("_metadata.file_path").alias(PATH))


def _count(lines: DataFrame) -> DataFrame:
    value, is_delete = f.col("value"), f.col("value").startswith(DELETE)
    keys = f.json_object_keys(value)
    # NULL for a text that is too long for this function, which fails in no way.
    is_repeated = f.coalesce(f.size(keys) > f.size(f.array_distinct(keys)), f.lit(False))  # noqa: FBT003
    names = f.when(is_delete, f.col("of_delete")).otherwise(f.col("of_upsert"))
    return lines.groupBy(PATH).agg(
        f.count(value).alias("lines"),
        f.count_if(value.startswith(UPSERT)).alias("upserts"),
        f.count_if(is_delete).alias("deletes"),
        f.sum(f.octet_length(value) + f.lit(1)).alias("size_bytes"),
        f.max(f.octet_length(value)).alias("longest_bytes"),
        f.count_if(~f.is_valid_utf8(value) | ~value.rlike(_LINE)).alias("invalid"),
        f.count_if(is_repeated).alias("repeated"),
        # Of one line for each file, because it takes long.
        f.first(f.size(f.array_except(names, keys))).alias("missing"),
    )


def _check_counted(file: File, counted: Row | None) -> None:
    if counted is None:
        raise ContentMismatch("it has no lines")
    check_counts(file, counted.size_bytes, counted.lines, counted.upserts, counted.deletes)
    if counted.longest_bytes >= MAX_LINE_BYTES:
        raise ContentMismatch(f"it has a line of more than {MAX_LINE_BYTES} bytes")
    if counted.invalid:
        raise ContentMismatch(f"{counted.invalid} of its lines are no JSON object in UTF-8")
    if counted.repeated:
        raise ContentMismatch(f"{counted.repeated} of its lines have a name twice")
    if counted.missing != 0:  # NULL if the line is not JSON
        raise ContentMismatch("its rows lack columns")
