"""The declaration of a star: what is wrong in it is named with its table and column."""

from pathlib import Path

import pytest

from totes.errors import UsageError
from totes.star.declaration import load_declaration
from totes.star.folder import TOTESYS, load_star

STAR = """
[dim_port]
comment = "A port."
key = "code"

[dim_port.columns]
code = { type = "text", comment = "Its code." }
name = { type = "text", nullable = true, comment = "Its name." }

[fact_call]
comment = "A call."
key = ["year", "number"]
surrogate = { name = "call_record_id", comment = "This version." }
current_view = { name = "current_call", comment = "The calls as they are now." }
as_of_function = { name = "call_as_of", comment = "The calls at a moment." }

[fact_call.columns]
year = { type = "integer", comment = "Year." }
number = { type = "bigint", comment = "Number in the year." }
port = { type = "text", references = "dim_port", comment = "Port." }
"""


def declare(folder: Path, text: str) -> Path:
    (folder / "star.toml").write_text(text, encoding="utf-8")
    return folder


def test_referenced_tables_come_first(tmp_path: Path) -> None:
    dimension, fact = STAR.split("\n[fact_call]", maxsplit=1)
    tables = load_declaration(declare(tmp_path, f"[fact_call]{fact}\n{dimension}"))
    assert list(tables) == ["dim_port", "fact_call"]
    assert tables["fact_call"].key_names == ("year", "number")
    assert [column.name for column in tables["fact_call"].key] == ["year", "number"]
    assert tables["fact_call"].is_fact
    assert not tables["dim_port"].is_fact


WRONG = {
    ('type = "bigint"', 'type = "int8"'): r"fact_call\.number: unknown type 'int8'; use one of",
    ('references = "dim_port"', 'references = "dim_harbour"'): "dim_harbour is not a declared dim",
    ('references = "dim_port"', 'references = "fact_call"'): "fact_call is not a declared dim",
    ('port = { type = "text"', 'port = { type = "integer"'): r"fact_call\.port: its type differs",
    ('key = "code"', 'key = "id"'): "dim_port: key column id is not declared",
    ('key = "code"', 'key = "name"'): "dim_port: key column name can't be nullable",
    ('key = "code"', 'key = ["code", "name"]'): "dim_port has a composite key|nullable",
    ("number = {", "valid_to = {"): r"fact_call\.valid_to: the name is reserved",
    ("number = {", "_at = {"): r"fact_call\._at: the name is reserved",
    ("number = {", "_file = {"): r"fact_call\._file: names that begin with _ are reserved",
    ("number = {", "totes_date = {"): r"fact_call\.totes_date: the name is reserved",
    ("number = {", "call_record_id = {"): r"fact_call\.call_record_id: the name is reserved",
    ('name = "current_call"', 'name = "dim_port"'): "are named dim_port",
    ('name = "current_call"', 'name = "Current"'): "fact_call: 'Current' is not a lower-case",
    ('comment = "A call."', ""): r"fact_call\.comment: field required",
    ('comment = "A call."', 'comment = "A call."\nkind = "fact"'): r"fact_call\.kind: extra inputs",
    ("surrogate = {", "# surrogate = {"): "fact_call: a fact needs surrogate, current_view and",
    (STAR, ""): "no table is declared",
    (STAR, "["): "is not TOML",
}


@pytest.mark.parametrize(("change", "message"), WRONG.items())
def test_errors_name_table_and_column(
    tmp_path: Path, change: tuple[str, str], message: str
) -> None:
    old, new = change
    assert old in STAR
    with pytest.raises(UsageError, match=message):
        load_declaration(declare(tmp_path, STAR.replace(old, new)))


def test_an_error_names_a_missing_declaration(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"star\.toml can't be read: No such file"):
        load_star(tmp_path)


def test_an_error_names_a_cycle_of_references(tmp_path: Path) -> None:
    cycle = """
[dim_a]
comment = "A."
key = "a"
[dim_a.columns]
a = { type = "text", comment = "Key." }
b = { type = "text", references = "dim_b", comment = "B." }
[dim_b]
comment = "B."
key = "b"
[dim_b.columns]
b = { type = "text", comment = "Key." }
a = { type = "text", references = "dim_a", comment = "A." }
"""
    with pytest.raises(UsageError, match=r"references form a cycle: dim_\w -> dim_\w -> dim_\w"):
        load_declaration(declare(tmp_path, cycle))


def test_an_error_names_a_table_without_verify_sql(tmp_path: Path) -> None:
    star = load_star(declare(tmp_path, STAR))
    with pytest.raises(
        UsageError, match=r"Table dim_port can't be verified: the file .*dim_port\.sql"
    ):
        star.verify_sql("dim_port")
    assert star.functions == ""
    assert "exchange_rate_to" in TOTESYS.functions
