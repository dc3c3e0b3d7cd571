"""Names and strings with special characters: from the source to the warehouse and every output."""

import json
from dataclasses import replace
from unicodedata import category

import lake_reader
import psycopg
import pytest
from installation import Installation
from psycopg import sql
from scratch_source import GRANTS, ScratchSource

from conftest import Totesys
from totes.escape import escape_controls
from totes.operations.verify import verify
from totes.source.catalogue import CaptureScope

pytestmark = pytest.mark.few(2)

NAMES = (
    *("it's", 'q"q', '"', "''", "a b", " ", "\t", "line\nbreak", "back\\slash", "\\", "a/b"),
    *("..", ".", "100%s", "%(x)s", "%", "{}", "{0}", "{x", "$1", "$$", "$tag$", ":name", "?"),
    *("@", "#", "~0~1", "; DROP TABLE staff; --", "/* */", "--", "a;b", "'); --", "$(id)"),
    *("`id`", "|", "&&", "*", "select", "table", "user", "null", "NULL", "true", "all"),
    *("order", "t", "json", "oid", "Id", "ID", "iD", "x" * 63, "ü" * 31, "東京", "🎉", "e\u0301"),
    *("\u202ertl", "\u200b", "\ufeff", "$.x", "a.b", "a[1]", "0", "1e5", "-1", "[/red]"),
    *("[bold]x", "\x1b[31mred", "<b>", "=1+1", "k0", "k1", "rows", "_live", "_batch"),
    *("_changed", "xmin_", "filename", "__proto__", "\\u0041"),
)
"""At most 63 bytes long, the limit of PostgreSQL's names."""

STRINGS = (
    *("'; DROP TABLE dim_design; --", "' OR '1'='1", '" OR ""="', "\\'; SELECT 1; --", "$$;$$"),
    *("/*", "%s %d %n %(x)s", "{} {0} {x!r} {{}}", "${HOME} $(id) `id`", "; rm -rf ~ &"),
    *("| cat", "../../x", "<script>alert(1)</script>", "<img src=x onerror=1>", "&amp;&#0;"),
    *("<!--", "]]>", "{{7*7}}", "=1+1", "+1", "-1", "@SUM(A1)", "=cmd|' /C calc'!A0", "\t=1"),
    *('"a","b"', "a;b\r\nc", "\\N", "\\.", '{"a":1}', '\\"', "\\u0000", "\\ud800"),
    *('","_op":"delete","x":"', "]}", "\\", "\\\\", "/", "\x7f", "[bold red]x[/]"),
    *("[/nothing]", "\x1b[2J\x1b]0;title\x07", "\x08\x08", "\r", "\x01\x1f\x85\x9b"),
    *("\u202egnp.exe", "\u2066\u2069\u200e\u200f", "\u200b\u200c\u200d\u2060", "\u2028\u2029"),
    *("\ufeff", "👩\u200d👩\u200d👧\u200d👦", "🏴\U000e0067\U000e0062\U000e007f", "👍🏽", "🇬🇧🇪"),
    *("☺\ufe0e☺\ufe0f", "Z\u0337\u034ea\u0334\u0322l\u0338\u035ag", "e\u0301é"),
    *("\ufb01 \ufb03 \u212b Å", "İ \u0131 ß ẞ ς", "\uff46\uff55", "\U0001d518\U0001d55f"),
    *("\U0010fffd�", "\ufffe\uffff", "مرحبا", "שלום", "日本語", "ไทย", "한글"),
    *("\u1680\u2003\u3000\xa0", "\ue000", "\U000f0000", "null", "NULL", "None", "undefined"),
    *("nan", "Infinity", "true", "0", "-0", "1e400", "0x1F", "007", "infinity", "epoch", "now"),
    *("2024-02-30", "", " ", "\n", "\t", "a" * 10000, "'" * 99, '"' * 99),
)
"""Texts that a program could misinterpret as SQL, code, markup or control characters."""


def quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


# Source to lake


def test_hostile_names_are_captured_unchanged(scratch_source: ScratchSource) -> None:
    """Used as names of tables, columns and key columns."""
    column_names = [NAMES[number::16] for number in range(16)]
    with scratch_source.open() as connection:
        for number, table in enumerate(NAMES):
            names = column_names[number % len(column_names)]
            columns = ", ".join(f"{quoted(name)} int" for name in names)
            key = ", ".join(map(quoted, names[1:]))
            connection.execute(
                f"CREATE TABLE {quoted(table)} ({columns}, PRIMARY KEY ({key}));"
                f"INSERT INTO {quoted(table)} SELECT {', '.join(['i'] * len(names))}"
                " FROM generate_series(1, 3) i".encode()
            )
        key = ", ".join(map(quoted, NAMES[::-3]))
        columns = ", ".join(f"{quoted(name)} int DEFAULT 2" for name in NAMES)
        connection.execute(
            f"CREATE TABLE everything ({columns}, PRIMARY KEY ({key}));"
            "INSERT INTO everything DEFAULT VALUES".encode()
        )
    batch = scratch_source.capture()
    assert batch is not None
    assert {table.name for table in batch.tables} == {*NAMES, "everything"}
    for found in batch.tables:
        if found.name in NAMES:
            names = column_names[NAMES.index(found.name) % len(column_names)]
            assert tuple(column.name for column in found.columns) == names
            assert found.key == names[1:]
    with scratch_source.open() as connection:
        for found in batch.tables:
            table, key = map(quoted, (found.name, found.key[0]))
            connection.execute(f"DELETE FROM {table} WHERE {key} = 2".encode())
    scratch_source.capture()
    with scratch_source.open() as connection:
        assert connection.execute("SELECT count(*) FROM everything").fetchone() == (0,)
    assert all(scratch_source.lake_equals_source(found.name) for found in batch.tables)


def test_schemas_types_and_labels_with_hostile_names_are_captured(
    scratch_source: ScratchSource, totesys: Totesys
) -> None:
    schema = 'it\'s "x"; %s {}'
    with psycopg.connect(totesys.owner.reveal()) as connection:
        connection.execute(GRANTS.replace("scratch", quoted(schema)).encode())
        connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        for name in ("in't", 'q"q', "%s", "{}", "a b"):
            type_ = quoted(f"type {name}")
            connection.execute(
                f"CREATE TYPE {type_} AS ENUM ('a''b', '%s');"
                f"CREATE TABLE {quoted(name)} (id {type_} PRIMARY KEY, v {type_}[]);"
                f"INSERT INTO {quoted(name)} VALUES ('a''b', '{{%s}}')".encode()
            )
    batch = replace(scratch_source, scope=CaptureScope(schema)).capture()
    assert batch is not None
    for table in batch.tables:
        [line] = lake_reader.lines(scratch_source.store, batch, table.name)
        assert (line["id"], line["v"]) == ("a'b", "{%s}")


# Source to warehouse, and the commands' output


def test_columns_that_no_model_reads_change_no_result(installation: Installation) -> None:
    """Including names that differ only in case, or equal the platform's own names."""
    installation.add_orders(10)
    other = ("staff_ID", "Address_Id", "CITY", "First_Name", "COUNTERPARTY_ID", "_LIVE")
    for table in ("staff", "department", "address", "counterparty", "sales_order", "design"):
        added = (f"ADD {quoted(name)} text DEFAULT 'not ''this'''" for name in (*NAMES, *other))
        installation.change(f"ALTER TABLE {table} {', '.join(added)}")
    installation.run()
    assert verify(installation.pipeline).equal
    installation.change(
        "UPDATE department SET location = 'elsewhere'; UPDATE address SET city = 'Zürich';"
        "UPDATE sales_order SET units_sold = units_sold + 1"
    )
    assert verify(installation.pipeline).equal
    assert installation.query("SELECT DISTINCT city FROM dim_location") == [("Zürich",)]


def test_status_shows_each_hostile_name_on_one_line(installation: Installation) -> None:
    installation.add_orders(2)
    for name in NAMES:
        installation.change(f"CREATE TABLE {quoted(name)} AS SELECT 1 AS id")
    installation.run()
    shown = installation.totes("status")
    assert shown.exit_code == 0, shown.exception
    lines = shown.stdout.splitlines()
    for name in NAMES:
        escaped = escape_controls(name).rstrip()
        assert any(line.startswith(escaped) and line.endswith("1        0") for line in lines), name
    assert all(
        character == "\n" or character.isprintable() or category(character) == "Cf"
        for character in shown.stdout
    )
    status = json.loads(installation.totes("status", "--json").stdout)
    assert {captured["table"] for captured in status["captured"]} >= set(NAMES)


def test_hostile_strings_are_loaded_unchanged_or_quarantined(installation: Installation) -> None:
    """Loaded into every text column of a dimension; a date column of a fact rejects them."""
    installation.add_orders(len(STRINGS))
    with psycopg.connect(installation.owner.reveal()) as connection:
        for number, string in enumerate(STRINGS, start=1):
            connection.execute(
                "INSERT INTO design VALUES (%s, now(), %s, %s, %s, now())"
                " ON CONFLICT (design_id) DO UPDATE"
                " SET (design_name, file_location, file_name)"
                " = (excluded.design_name, excluded.file_location, excluded.file_name)",
                [number, string, string, string],
            )
            connection.execute(
                "UPDATE purchase_order SET item_code = %s WHERE purchase_order_id = %s",
                [string, number],
            )
            connection.execute(
                "UPDATE sales_order SET agreed_delivery_date = %s WHERE sales_order_id = %s",
                [string, number],
            )
    installation.run()
    assert installation.query(
        f"SELECT design_id, design_name, file_location, file_name FROM dim_design"
        f" WHERE design_id <= {len(STRINGS)} ORDER BY 1"
    ) == [(number, *[string] * 3) for number, string in enumerate(STRINGS, start=1)]
    items = dict(
        installation.query("SELECT purchase_order_id, item_code FROM current_purchase_order")
    )
    assert items
    assert all(items[number] == STRINGS[number - 1] for number in items if number <= len(STRINGS))
    rejected = "SELECT key::int, value FROM totes.quarantine WHERE star_table = 'fact_sales_order'"
    excerpts = [
        string if len(string) < 2400 else f"{string[:450]} […] {string[-100:]}"
        for string in STRINGS
    ]
    assert sorted(installation.query(rejected)) == list(enumerate(excerpts, start=1))
    assert verify(installation.pipeline).equal
    shown = installation.totes("quarantine", "show", "fact_sales_order", "--limit", "1000")
    assert shown.exit_code == 0, shown.exception
    for string in STRINGS:
        assert repr(string)[:60] in shown.stdout
    assert not [character for character in shown.stdout if character != "\n" and character < " "]
    verified = installation.totes("verify").stdout
    assert f"fact_sales_order: {len(STRINGS)} in quarantine" in verified


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 東京 🎉 'q' \\n", "plain é 東京 🎉 'q' \\n"),
        ("a\nb\tc\r\x1b[31m\x7f\x85", "a\\nb\\tc\\r\\x1b[31m\\x7f\\x85"),
        ("\u202egnp\u2066\u2028", "\\u202egnp\\u2066\\u2028"),
        ("👩\u200d👧", "👩\u200d👧"),
    ],
)
def test_control_characters_are_escaped_for_the_terminal(text: str, shown: str) -> None:
    assert escape_controls(text) == shown


def test_errors_and_log_lines_are_one_line_each(installation: Installation) -> None:
    installation.add_orders(1).run()
    installation.change('CREATE TABLE "a\nb\x1b[2J" (id int PRIMARY KEY, _op text)')
    result = installation.totes("ingest")
    assert result.exit_code == 3
    assert "a\\nb\\x1b[2J" in result.stderr
    assert len(result.stderr.splitlines()) == 1
