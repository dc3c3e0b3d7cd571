"""The models: what they read is found in their SQL, and other engines run them too."""

import shutil
import subprocess
import sys
from collections import Counter
from importlib.resources import as_file, files
from pathlib import Path

import duckdb
import psycopg
import pytest
from example_manifests import MANIFEST
from lake_writer import ROWS, row
from sqlglot import transpile

from conftest import EmptyWarehouse
from totes.errors import ModelError
from totes.sql_text import literal, quote
from totes.star.folder import TOTESYS
from totes.star.lineage import SUPPLIED, RowIdentity, find_lineage
from totes.star.models import LINEAGE_FILE, Models, dump_lineages, load_models
from totes.star.supplied import define_supplied

PACKAGED = files("totes.star") / "totesys" / "models"
MODELS = {model.name: model for model in TOTESYS.models.all}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the models, which a test can change."""
    with as_file(PACKAGED) as models:
        return shutil.copytree(models, tmp_path / "models")


def edit(folder: Path, star: str, old: str, new: str) -> Models:
    path = folder / f"{star}.sql"
    sql = path.read_text()
    assert old in sql
    path.write_text(sql.replace(old, new))
    return load_models(folder, TOTESYS.tables)


def test_lineage_json_equals_the_lineage_that_sqlglot_finds(folder: Path) -> None:
    written = (folder / LINEAGE_FILE).read_bytes()
    (folder / LINEAGE_FILE).unlink()
    assert dump_lineages(load_models(folder, TOTESYS.tables)) == written, "run make star"


def test_sqlglot_is_not_imported_for_the_packaged_models() -> None:
    script = (
        "import sys, totes.stages.transform; from totes.star.folder import TOTESYS; "
        "TOTESYS.models; sys.exit('sqlglot' in sys.modules or 'pycountry' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_columns_a_model_reads_are_found() -> None:
    sources = MODELS["dim_staff"].lineage.sources
    assert sources.keys() == {"department", "staff"}
    assert {"department_id", "department_name", "location"} <= {*sources["department"]}
    staff = {"department_id", "email_address", "first_name", "last_name", "staff_id"}
    assert staff <= {*sources["staff"]}
    assert {*sources["department"], *sources["staff"]}.isdisjoint({"created_at", "last_updated"})
    assert MODELS["dim_currency"].lineage.sources == {"currency": ("currency_code", "currency_id")}
    assert MODELS["dim_transaction"].lineage.sources.keys() == {"transaction"}


def test_a_table_of_the_source_is_not_confused_with_a_supplied_relation() -> None:
    table = MANIFEST.tables[1].model_copy(update={"name": "calendar"})
    manifest = MANIFEST.model_copy(update={"tables": (table,)})
    with pytest.raises(ModelError, match="dim_date can't run on batch 42: it reads calendar"):
        MODELS["dim_date"].check(manifest)


def test_a_model_can_read_star_tables_of_its_batch() -> None:
    assert MODELS["dim_date"].lineage.sources == {}
    facts = {"fact_sales_order", "fact_purchase_order", "fact_payment", "fact_exchange_rate"}
    assert facts <= {*MODELS["dim_date"].lineage.stars}


def test_only_joined_tables_keep_their_current_rows() -> None:
    joins = {name: {*model.lineage.joins} for name, model in MODELS.items()}
    assert joins["dim_staff"] == {"staff", "department"}
    assert joins["dim_counterparty"] == {"counterparty", "address"}
    assert joins["dim_location"] == set()
    assert TOTESYS.models.joined_tables == set().union(*joins.values())


def test_every_natural_key_except_date_id_is_a_source_key() -> None:
    keys = {name: model.lineage.key for name, model in MODELS.items()}
    found = {name: key and (key.table, *key.columns) for name, key in keys.items()}
    assert found == found | {
        "dim_date": None,
        "dim_staff": ("staff", "staff_id"),
        "dim_location": ("address", "address_id"),
        "dim_currency": ("currency", "currency_id"),
        "dim_design": ("design", "design_id"),
        "dim_counterparty": ("counterparty", "counterparty_id"),
        "dim_payment_type": ("payment_type", "payment_type_id"),
        "dim_transaction": ("transaction", "transaction_id"),
        "fact_sales_order": ("sales_order", "sales_order_id"),
        "fact_purchase_order": ("purchase_order", "purchase_order_id"),
        "fact_payment": ("payment", "payment_id"),
        "fact_exchange_rate": ("ecb_exchange_rate", "rate_id"),
    }


@pytest.mark.parametrize(
    ("sql", "key"),
    [
        ("with a as (select d.design_id as x from design d) select x as design_id from a", True),
        ("select design_id + 0 as design_id from design", False),
        ("select design_id from design union all select design_id from design", False),
        ("select n as design_id from generate_series(1, 2) as s (n)", False),
        ("select 1 as one from design", False),
        ("select distinct design_id from design", False),
        ("select design_id from design group by design_id", False),
    ],
)
def test_only_an_unaltered_key_is_traced_to_the_source(sql: str, key: bool) -> None:  # noqa: FBT001
    found = find_lineage("dim_design", sql, key=["design_id"], stars=TOTESYS.tables)
    traced = RowIdentity(table="design", columns=("design_id",))
    assert found.key == (traced if key else None)


AT_OF_CTE = "with d as (select design_id as id, _at from design) select id as design_id, _at from d"


@pytest.mark.parametrize("sql", ["select design_id, _at from design", AT_OF_CTE])
def test_a_model_that_selects_at_gets_every_version(sql: str) -> None:
    found = find_lineage("fact_design", sql, key=["design_id"], stars=TOTESYS.tables)
    assert found.selects_at
    assert found.sources == {"design": ("design_id",)}
    assert not MODELS["fact_exchange_rate"].lineage.selects_at


@pytest.mark.parametrize(
    "sql",
    [
        "select design_id from design where _at > now()",
        "select design_id, _at + interval 1 day as _at from design",
        "select design_id, _at as written_at from design",
        "select distinct design_id, _at from design",
        "select d.design_id, d._at from design d join staff s on s.staff_id = d.design_id",
        "select f.sales_order_id as design_id, d._at from design d, fact_sales_order f",
        "select design_id, last_updated as _at, _at as at from design",
    ],
)
def test_at_can_only_be_selected_unaltered_from_one_source_table(sql: str) -> None:
    with pytest.raises(ModelError, match=r"^Model fact_design can't read _at like this"):
        find_lineage("fact_design", sql, key=["design_id"], stars=TOTESYS.tables)


def test_a_dimension_can_not_select_at(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"dim_design can't select _at: .* is a dimension"):
        edit(folder, "dim_design", "    file_name\n", "    file_name,\n    _at\n")


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select from where", "can't be parsed"),
        ("delete from design", "is not a SELECT"),
        ("select * from design", "name the columns"),
        ("select design_id from design, staff", "table.column"),
    ],
)
def test_an_error_names_a_model_that_can_not_be_parsed(
    folder: Path, sql: str, message: str
) -> None:
    (folder / "dim_design.sql").write_text(sql)
    with pytest.raises(ModelError, match=f"dim_design .*{message}"):
        load_models(folder, TOTESYS.tables)


def test_an_error_names_a_missing_model(folder: Path) -> None:
    (folder / "dim_staff.sql").unlink()
    with pytest.raises(ModelError, match=r"dim_staff is missing.*dim_staff\.sql"):
        load_models(folder, TOTESYS.tables)


def test_the_digest_changes_with_every_model(folder: Path) -> None:
    assert load_models(folder, TOTESYS.tables).digest == TOTESYS.models.digest
    assert edit(
        folder, "dim_design", "design_name,", "upper(design_name) as design_name,"
    ).digest != (TOTESYS.models.digest)


def test_a_model_that_is_not_in_lineage_json_is_parsed(folder: Path) -> None:
    (folder / LINEAGE_FILE).unlink()
    assert load_models(folder, TOTESYS.tables) == TOTESYS.models


SPECIAL_TEXT = 'O\'Keefe & "Söhne" 👜\n\tLtd'


RATE = {
    "rate_id": "2022-11-03 GBP",
    "rate_date": "2022-11-03",
    "currency_code": "GBP",
    "rate": "0.8695",
    "source": SPECIAL_TEXT,
    "carried_forward": "false",
}


def source_rows() -> dict[str, list[dict[str, object]]]:
    """Return two rows of each table, as text: one with special characters, one unchanged."""
    rows: dict[str, list[dict[str, object]]] = {}
    for table, example in ROWS.items():
        text_columns = [
            name for name in example if name.endswith(("_name", "phone", "code", "line_1"))
        ]
        one = (
            row(table, **dict.fromkeys(text_columns, SPECIAL_TEXT))
            if table != "currency"
            else row(table)
        )
        two = row(table, **{next(iter(example)): 2})
        rows[table] = [
            {
                name: None
                if value is None
                else str(value).lower()
                if value is False
                else str(value)
                for name, value in line.items()
            }
            | {"_changed": changed}
            for line, changed in ((one, True), (two, False))
        ]
    unchanged = RATE | {"rate_id": "2022-11-04 GBP", "_changed": False}
    rows["ecb_exchange_rate"] = [RATE | {"_changed": True}, unchanged]
    return rows


@pytest.mark.bare
def test_models_return_the_same_rows_in_postgresql(warehouse: EmptyWarehouse) -> None:
    with duckdb.connect() as engine, psycopg.connect(warehouse.dsn.reveal()) as postgres:

        def execute_in_both(script: str) -> None:
            engine.execute(script)
            postgres.execute(script.encode())

        for table, lines in source_rows().items():
            columns = [name for name in lines[0] if name != "_changed"]
            types = [f"{quote(name)} text" for name in columns]
            types += ["_changed boolean", "_at timestamptz"]
            execute_in_both(f"create table {quote(table)} ({', '.join(types)})")
            for line in lines:
                values = (
                    "null"
                    if v is None
                    else str(v).lower()
                    if isinstance(v, bool)
                    else literal(str(v))
                    for v in line.values()
                )
                execute_in_both(f"insert into {quote(table)} values ({', '.join(values)}, now())")
        define_supplied(engine, SUPPLIED)
        currencies = engine.execute("select code, name from iso_currency").fetchall()
        postgres.execute("create table iso_currency (code text, name text)")
        with postgres.cursor() as cursor:
            cursor.executemany("insert into iso_currency values (%s, %s)", currencies)
        postgres.execute(
            "create table calendar as select day::date"
            " from generate_series(date '1900-01-01', date '2200-12-31', interval '1 day') as day"
        )
        for name in (*(n for n in MODELS if n != "dim_date"), "dim_date"):
            star, sql = TOTESYS.tables[name], MODELS[name].sql
            names = ", ".join(column.quoted for column in star.columns)
            [translated] = transpile(sql, read="duckdb", write="postgres")
            in_duckdb = engine.execute(f"select {names} from ({sql})").fetchall()
            in_postgres = postgres.execute(
                f"select {names} from ({translated}) as model".encode()
            ).fetchall()
            assert Counter(in_duckdb) == Counter(in_postgres)
            assert in_duckdb
            if star.is_fact:  # dim_date reads the facts with their types
                casts = ", ".join(
                    f"cast({c.quoted} as {c.type.postgres}) as {c.quoted}" for c in star.columns
                )
                engine.execute(f"create view {name} as select {casts} from ({sql})")
                postgres.execute(
                    f"create view {name} as select {casts} from ({translated}) as m".encode()
                )
