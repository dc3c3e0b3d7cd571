"""The files and commands of docs/your-own-database.md, which builds a star for another database."""

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest
from installation import Installation
from second_business import BLOCKS, PAGE, write_files

from conftest import EmptyWarehouse, Totesys

pytestmark = pytest.mark.bare


@pytest.fixture
def harbour(totesys: Totesys, warehouse: EmptyWarehouse, tmp_path: Path) -> Installation:
    """The page's source and star, set up according to the page."""
    star = write_files(tmp_path)
    with psycopg.connect(totesys.owner.reveal()) as connection:
        connection.execute((tmp_path / "harbour.sql").read_bytes())
        connection.execute("GRANT USAGE ON SCHEMA harbour TO totes_ingest")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA harbour TO totes_ingest")
    installation = Installation(totesys.owner, totesys.dsn, warehouse.dsn, tmp_path)
    return installation.with_settings(source_schema="harbour", star=str(star))


def succeed(installation: Installation, *arguments: str) -> str:
    result = installation.totes(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def calls(installation: Installation) -> list[tuple[Any, ...]]:
    """Return key, berth and cargo of the current port calls."""
    columns = "year, sequence, quay, berth_number, cargo_tonnes"
    return installation.query(f"SELECT {columns} FROM current_port_call ORDER BY 1, 2")


def test_the_files_and_commands_of_the_page_work(harbour: Installation) -> None:
    for command in re.findall(r"^totes (.+)$", PAGE, re.MULTILINE):
        succeed(harbour, *command.split())
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \|$", PAGE, re.MULTILINE)
    assert harbour.query(BLOCKS[-1][1]) == [(name, Decimal(tonnes)) for name, tonnes in rows]
    [(comment,)] = harbour.query("SELECT col_description('dim_vessel'::regclass, 3)")
    assert comment == "Flag state; NULL where it is not known."


def test_changes_deletes_and_rejections_of_rows_with_composite_keys_are_loaded(
    harbour: Installation,
) -> None:
    succeed(harbour, "run", "--once")
    harbour.change("UPDATE harbour.port_call SET cargo_tonnes = 1300.25 WHERE sequence = 1")
    harbour.change("DELETE FROM harbour.port_call WHERE sequence = 2")
    harbour.change("INSERT INTO harbour.berth VALUES ('South, \"new\"', 3, 7)")
    harbour.change(
        "INSERT INTO harbour.port_call VALUES"
        " (2026, 4294967296, 'IMO9074729', 'South, \"new\"', 3, '2026-03-07 00:00+00', 0.005)"
    )
    succeed(harbour, "run", "--once")
    assert calls(harbour) == [(2026, 1, "North", 1, Decimal("1300.25"))]
    [rejected] = harbour.query("SELECT key, column_name, value FROM totes.quarantine")
    assert rejected == ('["2026", "4294967296"]', "cargo_tonnes", "0.005")
    assert '"2026", "4294967296"' in succeed(harbour, "quarantine", "show")
    succeed(harbour, "verify")
    harbour.change("UPDATE harbour.port_call SET cargo_tonnes = 5 WHERE sequence > 2")
    harbour.change("DELETE FROM harbour.berth WHERE quay = 'North' AND number = 2")
    succeed(harbour, "run", "--once")
    assert len(calls(harbour)) == 2
    deleted = harbour.query("SELECT table_name, key FROM totes.deleted_dimension_rows")
    assert deleted == [("dim_berth", '["North", "2"]')]
    columns = "sequence, cargo_tonnes, valid_to IS NULL"
    history = f"SELECT {columns} FROM fact_port_call ORDER BY sequence, valid_from"
    before = harbour.query(history)
    assert before == [
        (1, Decimal("1200.5"), False),
        (1, Decimal("1300.25"), True),
        (2, Decimal(80000), False),
        (4294967296, Decimal(5), True),
    ]
    succeed(harbour, "verify")
    succeed(harbour, "replay")
    assert harbour.query(history) == before
    succeed(harbour, "verify")


def test_a_difference_is_found_with_its_composite_key(harbour: Installation) -> None:
    succeed(harbour, "run", "--once")
    harbour.change_warehouse("UPDATE fact_port_call SET cargo_tonnes = 1 WHERE sequence = 2")
    harbour.change_warehouse("UPDATE dim_berth SET depth_metres = 1 WHERE quay = 'Oil \"B\"'")
    result = harbour.totes("verify", "--json")
    assert result.exit_code == 1
    found = {
        table["name"]: [(one["key"], one["columns"]) for one in table["differing"]]
        for table in json.loads(result.stdout)["tables"]
        if table["differing"]
    }
    assert found == {
        "dim_berth": [('["Oil \\"B\\"", "1"]', ["depth_metres"])],
        "fact_port_call": [('["2026", "2"]', ["cargo_tonnes"])],
    }


def test_columns_and_tables_are_added_to_a_warehouse_with_data(harbour: Installation) -> None:
    succeed(harbour, "run", "--once")
    star = harbour.folder / "star"
    declaration = star / "star.toml"
    text = declaration.read_text().replace(
        'quay = { type = "text", comment = "Quay of its berth." }',
        'flag = { type = "text", nullable = true, comment = "Flag of the vessel." }\n'
        'quay = { type = "text", comment = "Quay of its berth." }',
    )
    text += """
[dim_flag]
comment = "A flag state."
key = "flag"

[dim_flag.columns]
flag = { type = "text", comment = "Its code." }
"""
    declaration.write_text(text)
    (star / "models" / "dim_flag.sql").write_text(
        "select distinct flag from vessel where _changed and flag is not null"
    )
    (star / "verify" / "dim_flag.sql").write_text(
        "SELECT DISTINCT flag FROM vessel WHERE flag IS NOT NULL"
    )
    fact = star / "models" / "fact_port_call.sql"
    flag = "case imo when 'IMO9074729' then 'NO' end as flag"
    fact.write_text(fact.read_text().replace("    quay,", f"    {flag},\n    quay,"))
    verify = star / "verify" / "fact_port_call.sql"
    flag = "CASE WHEN right(imo, 3) = '729' THEN 'NO' END"
    verify.write_text(verify.read_text().replace("imo, quay,", f"imo, {flag}, quay,"))
    failed = harbour.totes("run", "--once")
    assert failed.exit_code == 5
    assert "run `totes warehouse migrate`" in failed.output
    shown = succeed(harbour, "warehouse", "migrate")
    assert "added column fact_port_call.flag" in shown
    assert "added table dim_flag" in shown
    assert "up to date" in succeed(harbour, "warehouse", "migrate")
    succeed(harbour, "run", "--once")
    succeed(harbour, "replay")
    assert harbour.query("SELECT flag FROM dim_flag") == [("NO",)]
    flags = harbour.query("SELECT sequence, flag FROM current_port_call ORDER BY 1")
    assert flags == [(1, "NO"), (2, None)]
    assert harbour.query("SELECT count(*) FROM port_call_as_of(now())") == [(2,)]
    succeed(harbour, "verify")
